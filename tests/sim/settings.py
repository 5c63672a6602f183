"""What a seed turns on. Swarm testing: each seed has its own mix of faults, weights and sizes."""

from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

FAULTS: Final = (
    # the network, per message
    "net_drop_request",
    "net_drop_reply",
    "net_duplicate",
    "net_delay",
    "net_half_open",
    # the server, by time
    "server_crash",
    "server_stop",
    "server_stall",
    "wall_jump",
    "disk_slow",
    "disk_full",
    "disk_broken",
    "disk_low",
    "config_change",
    # workers
    "worker_pause",
    "worker_die",
    "worker_double_report",
    "worker_late_report",
    "worker_lie",
    "worker_ignore_orders",
    "worker_repeat_seq",
    "worker_two_polls",
    # clients
    "client_repeat_submit",
    "client_reuse_key",
    "client_stranger",
)
RESTORE: Final = "server_restore"
"""Drawn apart from the others, so that they are what they were for a seed."""
SERVER_FAULTS: Final = (*FAULTS[5:14], RESTORE)
QUEUES: Final = ("default", "compute", "io")
KINDS: Final = ("", "resize", "mail")
TENANTS: Final = ("t1", "t2")
WEIGHT_MAX: Final = 4
"""Of a tenant."""
TAGS: Final = ("nightly", "big")
LABELS: Final = ("zone=1", "disk=ssd")
GPU_MODELS: Final = ("A100", "H100")
MODULES: Final = tuple(bytes([number]) * 32 for number in range(1, 13))
SMALL: Final = {
    "PENDING_MAX": 6,
    "TICK_BATCH_MAX": 2,
    "CLASSES_TRIED_MAX": 1,
    "SESSION_MS_MAX": 2_000,
    "SWEEP_MS": 500,
    "LOG_BYTES_MAX": 400,
    "SWEEP_JOBS_MAX": 2,
}
LMDB_EVERY: Final = 20
"""Seeds; the others have their rows in memory."""


@dataclass
class Settings:
    """Units: `_ms`; rates are probabilities per message or per occasion."""

    seed: int
    rates: dict[str, float]
    """By fault; absent: off."""
    lmdb: bool
    lease_ms: int
    crashes_max: int
    cancel_grace_ms: int
    timeout_grace_ms: int
    capacities: dict[str, int]
    jobs_max: int
    clients: int
    workers: int
    jobs_wanted: int
    """Live jobs at which clients stop to submit for a while."""
    pause_ms: int
    """Of clients between two requests, at most."""
    net_ms: int
    commit_ms: int
    chaos_ms: int
    """Between two faults of the server, on average."""
    keys: int
    """Idempotency keys in use at a time."""
    plain: bool
    """Jobs ask for nothing: priority and order alone decide."""
    small: dict[str, int]
    """Bounds of the product made so small that they are met: see `server.BOUNDS`."""
    delays: float
    timeouts: float
    failures: float
    afters: float
    """Jobs that run after others."""
    acts: dict[str, float] = field(default_factory=dict)
    retention_ms: int | None = None
    retentions: float = 0.0
    """Jobs that say themselves how long they are kept."""
    sweep_ms: int = 1_000
    """Between two sweeps."""


def settings_of(seed: int, without: frozenset[str] = frozenset()) -> Settings:
    """Return what the seed means; `without` turns faults off."""
    rng = Random(f"settings {seed}")
    rates = {
        kind: rng.choice((0.01, 0.05, 0.2)) * (0.5 if kind.startswith("net") else 1)
        for kind in FAULTS
        if rng.random() < 0.5
    }
    if Random(f"restores {seed}").random() < 0.14:
        rates[RESTORE] = 1.0
    sweeps = Random(f"sweeps {seed}")
    return Settings(
        seed=seed,
        rates={kind: rate for kind, rate in rates.items() if kind not in without},
        lmdb=seed % LMDB_EVERY == 0 and "lmdb" not in without,
        **config_of(rng),
        clients=rng.randint(1, 4),
        workers=rng.randint(1, 6),
        jobs_wanted=rng.choice((10, 30, 60, 120)),
        pause_ms=rng.choice((5, 40, 200)),
        net_ms=rng.choice((0, 2, 20)),
        commit_ms=rng.choice((0, 3, 15, 60)),
        chaos_ms=rng.choice((500, 2_000, 6_000)),
        keys=rng.choice((3, 20, 200)),
        plain=rng.random() < 0.4,
        small={name: small for name, small in SMALL.items() if rng.random() < 0.3},
        delays=rng.choice((0.0, 0.1, 0.4)),
        timeouts=rng.choice((0.0, 0.1, 0.5)),
        failures=rng.choice((0.05, 0.2, 0.5)),
        afters=rng.choice((0.0, 0.1, 0.4)),
        acts={
            act: rng.choice((0.0, 1.0, 3.0))
            for act in (
                *("cancel", "suspend", "resume", "delete", "remove", "explain", "document"),
                *("retry", "order", "fleet", "bulk", "limit"),
            )
        },
        retention_ms=sweeps.choice((None, 0, 500, 3_000, 20_000)),
        sweep_ms=sweeps.choice((100, 1_000, 5_000)),
        retentions=sweeps.choice((0.0, 0.0, 0.2, 0.5)),
    )


def config_of(rng: Random) -> dict[str, Any]:
    """Return what an operator may change from start to start."""
    return {
        "lease_ms": rng.choice((400, 1_500, 3_000, 10_000)),
        "crashes_max": rng.choice((1, 2, 3, 5)),
        "cancel_grace_ms": rng.choice((500, 2_000, 5_000)),
        "timeout_grace_ms": rng.choice((100, 1_000)),
        "capacities": {queue: rng.choice((1, 2, 5)) for queue in QUEUES if rng.random() < 0.4},
        "jobs_max": rng.choice((0, 0, 0, 20, 60)),
    }
