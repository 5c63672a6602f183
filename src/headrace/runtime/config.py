"""Everything an operator may set, in one Struct."""

import ipaddress
from pathlib import Path

import msgspec

from headrace.core.live import EngineConfig
from headrace.core.resources import Amounts
from headrace.wire import limits


class ConfigError(Exception):
    """The configuration cannot be served; the message says what to change."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One server. `headrace serve --help` lists each with its flag."""

    data_dir: Path | None = None
    """Where the jobs are; None keeps them in memory, and they end with the process."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free one."""
    lease_ms: int = limits.LEASE_MS_DEFAULT
    """A worker silent for this long is taken for dead."""
    crashes_max: int = limits.CRASHES_MAX_DEFAULT
    queue_capacities: dict[str, int] = msgspec.field(
        default_factory=lambda: {"compute": 1, "maintenance": 5, "download": 10}
    )
    """Jobs of a queue leased at once; queues not named are unlimited."""
    queue_size: int = 0
    """Live jobs; a submit beyond it is refused with 429. 0: no limit."""
    resources_max: Amounts | None = None
    """The largest job taken."""
    disk_reserve_mb: int = 1_024
    """With less free space, submits are refused with 507; all else goes on."""
    insecure: bool = False
    """Serve beyond loopback although anybody who reaches the port may do anything."""
    accept_any_filesystem: bool = False
    """Use a filesystem that may lose acknowledged jobs."""
    metric_prefix: str = "headrace"
    drain_s: float = 10.0
    """How long a stopping server lets requests end."""
    lane: bool = True
    """Serve submits and polls past the HTTP library where they are plain; same answers, sooner."""

    def check(self) -> None:
        """Raises: ConfigError."""
        if not self.insecure and not _is_loopback(self.host):
            raise ConfigError(
                f"{self.host} can be reached from other machines and no API keys are configured:"
                " anybody could submit and cancel jobs. Bind to 127.0.0.1, or say --insecure"
                " if something in front of this server keeps strangers out"
            )
        if not limits.LEASE_MS_MIN <= self.lease_ms <= limits.LEASE_MS_MAX:
            raise ConfigError(
                f"the lease term must lie between {limits.LEASE_MS_MIN} and"
                f" {limits.LEASE_MS_MAX} ms"
            )
        if self.crashes_max < 1:
            raise ConfigError("crashes_max must be 1 or more")
        if any(capacity < 0 for capacity in self.queue_capacities.values()):
            raise ConfigError("a queue's capacity must be 0 or more")

    def engine(self) -> EngineConfig:
        return EngineConfig(
            lease_ms=self.lease_ms,
            crashes_max=self.crashes_max,
            queue_capacities=self.queue_capacities,
            jobs_max=self.queue_size,
            resources_max=self.resources_max,
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
