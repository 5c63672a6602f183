"""How one worker is set up."""

import os
import socket
from pathlib import Path
from typing import Final

import msgspec

from headrace.wire import limits
from headrace.worker.ledger import Offer
from headrace.worker.probe import probe

URL_DEFAULT: Final = "http://127.0.0.1:8080"
DRAIN_S_DEFAULT: Final = 30.0
CONCURRENCY_MIN_DEFAULT: Final = 4
CONCURRENCY_MAX: Final = limits.POLL_JOBS_MAX


class AgentError(Exception):
    """The agent cannot work as it is set up; the message says what to change."""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Fields left at their default are filled by `complete`."""

    url: str = URL_DEFAULT
    api_key: str | None = None
    name: str = ""
    """Shown as the job's `locked_by`; empty: host name and process number."""
    concurrency: int = 0
    """Jobs at a time; 0: as many as processors, and at least 4."""
    total: Offer | None = None
    """All that jobs may reserve; None: what the probe finds."""
    cpu_milli: int | None = None
    """Instead of what the probe finds."""
    memory_mb: int | None = None
    """Instead of what the probe finds."""
    labels: dict[str, str] = {}
    """Beside `os` and `arch`, which the probe sets."""
    queues: list[str] | None = None
    """None: every queue."""
    types: list[str] | None = None
    """Of the handlers, those to serve; None: all."""
    wasm: bool = True
    drain_s: float = DRAIN_S_DEFAULT
    """How long running jobs may take to finish after a request to shut down."""
    cache_dir: Path | None = None
    """Modules and compiled code; None: the user's cache directory."""


def complete(config: AgentConfig) -> AgentConfig:
    """Fill what was left open from this host. Raises: AgentError."""
    if not 0 <= config.concurrency <= CONCURRENCY_MAX:
        raise AgentError(f"concurrency is 1 to {CONCURRENCY_MAX}")
    if not config.url.startswith(("http://", "https://")):
        raise AgentError(f"{config.url!r} is not an address such as {URL_DEFAULT}")
    cache_dir = config.cache_dir or default_cache_dir()
    total, labels = config.total, config.labels
    if total is None:
        found = probe(cache_dir)
        total = Offer(
            cpu_milli=found.cpu_milli,
            memory_mb=found.memory_mb,
            storage_mb=found.storage_mb,
            gpu_milli=found.gpu_milli,
            gpu_model=found.gpu_model,
        )
        labels = {**found.labels, **labels}
    if config.cpu_milli is not None:
        total = msgspec.structs.replace(total, cpu_milli=config.cpu_milli)
    if config.memory_mb is not None:
        total = msgspec.structs.replace(total, memory_mb=config.memory_mb)
    return msgspec.structs.replace(
        config,
        name=config.name or f"{socket.gethostname()}-{os.getpid()}",
        concurrency=config.concurrency
        or max(CONCURRENCY_MIN_DEFAULT, min(os.cpu_count() or 1, CONCURRENCY_MAX)),
        total=total,
        labels=labels,
        cache_dir=cache_dir,
    )


def default_cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "headrace"
