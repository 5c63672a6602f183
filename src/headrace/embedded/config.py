"""How one embedded queue is set up."""

from pathlib import Path
from typing import Final

import msgspec

from headrace.runtime.config import Config, ConfigError
from headrace.sdk.errors import UsageError
from headrace.wire import limits
from headrace.wire.durations import duration_ms

MAX_WORKERS_DEFAULT: Final = 4
DRAIN_S_DEFAULT: Final = 30.0


class QueueConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Every field has a default; a queue of `QueueConfig()` is in memory."""

    path: Path | str | None = None
    """Directory of the jobs, as a server's: it can be opened by either, one at a time. None: in
    memory."""
    max_workers: int = MAX_WORKERS_DEFAULT
    """Jobs that run at once."""
    max_queue_size: int = 0
    """Unfinished jobs at most; more raise `QueueFull`. 0: no limit."""
    default_timeout: float | str = limits.TIMEOUT_MS_DEFAULT / 1000
    """Of jobs that name none: seconds, or text such as "5m"."""
    enable_metrics: bool = True
    """False: `metrics` refuses. Counting costs nothing; this is for those who must not show it."""
    queues: dict[str, int] = {}
    """Jobs of a named queue that run at once; a queue not named has no limit."""
    lease_s: float = limits.LEASE_MS_DEFAULT / 1000
    """After a crash of the program, a job that was running is given out again this much later."""
    retention: float | str | None = limits.RETENTION_MS_DEFAULT / 1000
    """How long jobs that have ended are kept: seconds, or text such as "12h". None: for ever."""
    webhook_http: bool = False
    """Send to the `webhook_url` of a job over http:// too; for networks of one's own."""
    webhook_ports: list[int] = msgspec.field(default_factory=lambda: [443, 8443])
    """Ports that webhooks are sent to; 0: any."""
    webhook_allow_networks: list[str] = []
    """Networks, such as 10.0.0.0/8, that webhooks may reach though they are not public."""
    accept_any_filesystem: bool = False
    """Use a filesystem that may lose acknowledged jobs, such as tmpfs or NFS."""

    def check(self) -> None:
        """Raises: UsageError."""
        if not 1 <= self.max_workers <= limits.POLL_JOBS_MAX:
            raise UsageError(f"max_workers is 1 to {limits.POLL_JOBS_MAX}")
        if self.max_queue_size < 0:
            raise UsageError("max_queue_size is 0 for no limit, or more")
        try:
            timeout_ms = duration_ms(self.default_timeout)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"default_timeout: {error}") from None
        if not limits.TIMEOUT_MS_MIN <= timeout_ms <= limits.TIMEOUT_MS_MAX:
            raise UsageError(
                f"default_timeout is {limits.TIMEOUT_MS_MIN / 1000:g} s to"
                f" {limits.TIMEOUT_MS_MAX // 1000} s"
            )

    def node(self) -> Config:
        """Return the settings of the node inside. Raises: UsageError."""
        self.check()
        try:
            retention_ms = None if self.retention is None else duration_ms(self.retention)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"retention: {error}") from None
        config = Config(
            retention_ms=retention_ms,
            retention_ms_max=None,
            data_dir=None if self.path is None else Path(self.path),
            lease_ms=round(self.lease_s * 1000),
            queue_size=self.max_queue_size,
            queue_capacities=dict(self.queues),
            webhook_http=self.webhook_http,
            webhook_ports=self.webhook_ports,
            webhook_allow_networks=self.webhook_allow_networks,
            accept_any_filesystem=self.accept_any_filesystem,
        )
        try:
            config.check()
        except ConfigError as error:
            raise UsageError(str(error)) from None
        return config
