"""Everything an operator may set, in one Struct. `runtime/settings.py` says how a field reads."""

import ipaddress
import math
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from headrace.core.live import EngineConfig
from headrace.core.resources import Amounts
from headrace.runtime.layers import ConfigError
from headrace.runtime.logs import JobLogger, LogFormat
from headrace.runtime.settings import Bytes, Duration, Mark, Megabytes, Seconds, key_of, settings_of
from headrace.runtime.shapes import read_shapes
from headrace.wire import limits
from headrace.wire.keys import RATE_MAX, RateLimit

__all__ = ["Config", "ConfigError", "ResourcesMax"]


class ResourcesMax(msgspec.Struct, frozen=True, kw_only=True, rename=key_of):
    """The largest job taken; None: as large as can be written."""

    cpu_cores: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Mark("Cores of the largest job taken.", name="max_cpu"),
    ] = None
    memory_mb: Annotated[
        Megabytes | None, Mark("Memory of the largest job taken.", name="max_memory")
    ] = None
    storage_mb: Annotated[
        Megabytes | None, Mark("Storage of the largest job taken.", name="max_storage")
    ] = None
    gpu_count: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Mark("GPUs of the largest job taken.", name="max_gpu"),
    ] = None

    def amounts(self) -> Amounts | None:
        if self == ResourcesMax():
            return None
        return Amounts(
            _amount(self.cpu_cores, 1000, limits.CPU_MILLI_MAX),
            _amount(self.memory_mb, 1, limits.MEMORY_MB_MAX),
            _amount(self.storage_mb, 1, limits.STORAGE_MB_MAX),
            _amount(self.gpu_count, 1000, limits.GPU_MILLI_MAX),
        )


_Rate = Annotated[float, Meta(gt=0, le=RATE_MAX)]
_Burst = Annotated[int, Meta(ge=0, le=RATE_MAX)]


class RatesConfig(msgspec.Struct, frozen=True, kw_only=True, rename=key_of):
    """How often may be asked; None: as often as one likes."""

    requests: Annotated[
        _Rate | None,
        Mark("Requests a second of a key that has no limit of its own.", name="rate_requests"),
    ] = None
    requests_burst: Annotated[
        _Burst, Mark("Of them at once; 0: those of one second.", name="rate_requests_burst")
    ] = 0
    jobs: Annotated[
        _Rate | None,
        Mark("Jobs a second of a key that has no limit of its own.", name="rate_jobs"),
    ] = None
    jobs_burst: Annotated[
        _Burst, Mark("Of them at once; 0: those of one second.", name="rate_jobs_burst")
    ] = 0
    open: Annotated[
        _Rate | None,
        Mark("Requests a second of an address, while there are no keys.", name="rate_open"),
    ] = None
    open_burst: Annotated[
        _Burst, Mark("Of them at once; 0: those of one second.", name="rate_open_burst")
    ] = 0

    @property
    def key_requests(self) -> RateLimit | None:
        return _limit(self.requests, self.requests_burst)

    @property
    def key_jobs(self) -> RateLimit | None:
        return _limit(self.jobs, self.jobs_burst)

    @property
    def open_requests(self) -> RateLimit | None:
        return _limit(self.open, self.open_burst)


def _limit(per_second: float | None, burst: int) -> RateLimit | None:
    return None if per_second is None else RateLimit(per_second, burst)


class Config(msgspec.Struct, frozen=True, kw_only=True, rename=key_of):
    """One server. A new field is one line here; file, environment and flags follow from it."""

    data_dir: Annotated[
        Path | None, Mark("Directory of the jobs; made if it is not there. Without one: in memory.")
    ] = None
    memory: Annotated[
        bool, Mark("Keep jobs in memory only, whatever `data` says; they end with the server.")
    ] = False
    host: Annotated[str, Mark("Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535), Mark("Port to listen on; 0 for any free one.")] = (
        8080
    )
    lease_ms: Annotated[
        Duration,
        Meta(ge=limits.LEASE_MS_MIN, le=limits.LEASE_MS_MAX),
        Mark("A worker silent for this long is taken for dead."),
    ] = limits.LEASE_MS_DEFAULT
    crashes_max: Annotated[
        int, Meta(ge=1), Mark("Crashed attempts after which a job is given up.")
    ] = limits.CRASHES_MAX_DEFAULT
    queue_capacities: Annotated[
        dict[str, Annotated[int, Meta(ge=0)] | None],
        Mark(
            "Jobs of a queue that run at once; null, and queues not named: no limit.", name="queue"
        ),
    ] = msgspec.field(
        name="queues", default_factory=lambda: {"compute": 1, "maintenance": 5, "download": 10}
    )
    queue_size: Annotated[
        int,
        Meta(ge=0),
        Mark("Unfinished jobs at most; more get 429. 0: no limit.", variables=("QUEUE_SIZE",)),
    ] = 0
    priority_max: Annotated[
        int,
        Meta(ge=limits.PRIORITY_MIN, le=limits.PRIORITY_MAX),
        Mark("Highest priority; who asks for more gets this.", variables=("MAX_PRIORITY",)),
    ] = msgspec.field(name="max_priority", default=limits.PRIORITY_MAX)
    types: Annotated[
        Literal["any", "registered_only"],
        Mark("Whether jobs may have a type that is not registered."),
    ] = "any"
    resources_max: ResourcesMax = ResourcesMax()
    never_fit: Annotated[
        Literal["warn", "refuse"],
        Mark("Whether jobs that no known worker or shape could ever run are taken."),
    ] = "warn"
    worker_shapes: Annotated[
        dict[str, str],
        Mark(
            "Workers that there may be, such as `cpu_cores=4; memory=16GiB`; they count as known.",
            name="worker_shape",
        ),
    ] = msgspec.field(default_factory=dict)
    retention_ms: Annotated[
        Annotated[Duration, Meta(le=limits.OPERATOR_SPAN_MS_MAX)] | None,
        Mark("How long finished jobs are kept, where their type says nothing; or never."),
    ] = limits.RETENTION_MS_DEFAULT
    retention_ms_max: Annotated[
        Annotated[Duration, Meta(le=limits.OPERATOR_SPAN_MS_MAX)] | None,
        Mark("The longest time that a job may ask to be kept for; or never, for any."),
    ] = msgspec.field(name="retention_max", default=limits.RETENTION_OWN_MS_MAX)
    cleanup_every_ms: Annotated[
        Duration,
        Meta(ge=limits.CLEANUP_EVERY_MS_MIN, le=limits.CLEANUP_EVERY_MS_MAX),
        Mark("How often jobs whose time is over are looked for."),
    ] = limits.CLEANUP_EVERY_MS_DEFAULT
    log_bytes_max: Annotated[
        Bytes,
        Meta(ge=limits.LOG_CAP_BYTES_MIN, le=limits.LOG_BYTES_MAX),
        Mark("Kept of a job's log; what comes after is left out, and its end says so."),
    ] = msgspec.field(name="log_max", default=limits.LOG_BYTES_MAX)
    result_bytes_max: Annotated[
        Bytes,
        Meta(ge=limits.OUTPUT_CAP_BYTES_MIN, le=limits.OUTPUT_BYTES_MAX),
        Mark("Largest result of a job; an attempt with a larger one has failed."),
    ] = msgspec.field(name="result_max", default=limits.OUTPUT_BYTES_MAX)
    output_bytes_max: Annotated[
        Bytes,
        Meta(ge=limits.OUTPUT_CAP_BYTES_MIN, le=limits.OUTPUT_BYTES_MAX),
        Mark("Kept of a job's output; what comes after is cut off, and the job says so."),
    ] = msgspec.field(name="output_max", default=limits.OUTPUT_BYTES_MAX)
    rates: RatesConfig = RatesConfig()
    disk_reserve_mb: Annotated[
        Megabytes, Mark("With less free disk, submits are refused with 507; all else goes on.")
    ] = 1_024
    insecure: Annotated[bool, Mark("Listen beyond this machine without any keys.")] = False
    accept_any_filesystem: Annotated[
        bool, Mark("Use a filesystem that may lose acknowledged jobs, such as tmpfs or NFS.")
    ] = False
    metric_prefix: Annotated[
        str, Meta(pattern="^[a-zA-Z_:][a-zA-Z0-9_:]*$"), Mark("Of the names in /metrics.")
    ] = "headrace"
    drain_s: Annotated[Seconds, Mark("How long a stopping server lets requests end.")] = 10.0
    lane: Annotated[
        bool, Mark("Serve plain submits and polls on the quick path; same answers, sooner.")
    ] = True
    webhook_http: Annotated[
        bool, Mark("Send webhooks to http:// URLs too; for networks of one's own.")
    ] = False
    webhook_ports: Annotated[
        list[Annotated[int, Meta(ge=0, le=65_535)]],
        Mark("Ports that webhooks are sent to; with http also 80 and 8080. 0: any."),
    ] = msgspec.field(default_factory=lambda: [443, 8443])
    webhook_allow_networks: Annotated[
        list[str],
        Mark("Networks, such as 10.0.0.0/8, that webhooks may reach though they are not public."),
    ] = msgspec.field(default_factory=list)
    log_format: Annotated[LogFormat, Mark("Log lines for people, or one JSON object a line.")] = (
        "text"
    )
    access_log: Annotated[
        bool, Mark("A log line for each request, at level info; then none takes the quick path.")
    ] = False
    job_logger: JobLogger = JobLogger()

    def __post_init__(self) -> None:
        if self.memory:
            msgspec.structs.force_setattr(self, "data_dir", None)

    @property
    def may_be_open(self) -> bool:
        """Without any keys, anybody who reaches the server may do anything: is that meant?"""
        return self.insecure or _is_loopback(self.host)

    def check(self, *, has_keys: bool = False) -> None:
        """`has_keys`: there are API keys in the store. Raises: ConfigError."""
        for setting in SETTINGS:
            value: object = self
            for field in setting.fields:
                value = getattr(value, field)
            try:
                setting.check(value)
            except ValueError as error:
                raise ConfigError(f"{setting.key}: {error}") from None
        for network in self.webhook_allow_networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ConfigError(
                    f"webhook_allow_networks: {network!r} is no network, such as 10.0.0.0/8"
                ) from None
        try:
            read_shapes(self.worker_shapes)
        except ValueError as error:
            raise ConfigError(f"worker_shapes: {error}") from None
        if not self.may_be_open and not has_keys:
            raise ConfigError(
                f"{self.host} can be reached from other machines and there are no API keys:"
                " anybody could submit and cancel jobs. Make a key first with `headrace keys"
                " create --data DIR`, bind to 127.0.0.1, or say --insecure"
                " if something in front of this server keeps strangers out"
            )

    def engine(self) -> EngineConfig:
        capacities = self.queue_capacities.items()
        return EngineConfig(
            lease_ms=self.lease_ms,
            crashes_max=self.crashes_max,
            queue_capacities={name: most for name, most in capacities if most is not None},
            jobs_max=self.queue_size,
            resources_max=self.resources_max.amounts(),
            worker_shapes=read_shapes(self.worker_shapes),
            refuse_never_fit=self.never_fit == "refuse",
            retention_ms=self.retention_ms,
            log_bytes_max=self.log_bytes_max,
        )


SETTINGS: Final = settings_of(Config)


def _amount(value: float | None, unit: int, most: int) -> int:
    if value is None or not math.isfinite(value):
        return most
    return min(round(value * unit), most)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
