"""What a client sends becomes what the engine takes: `SubmitJob` to `NewJobs`.

The canonical spec is encoded here, once; it is what is stored and what workers get. Nothing here
reads a clock or makes an id: both come in, so that HTTP and an embedded queue share it.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from headrace._native import JobTexts as JobTexts
from headrace._native import job_texts as job_texts
from headrace._native import job_texts_each as job_texts_each
from headrace._native import json_is_plain
from headrace.core.commands import TENANT_DEFAULT, Caller, NewJobs
from headrace.core.ids import id_parse, id_text
from headrace.core.job_types import FindType, JobType, check_params, no_types
from headrace.core.module_keys import module_key
from headrace.core.params_schema import ParamsSchema
from headrace.core.resources import WASM_KIND, Amounts, Requirements
from headrace.wire import limits, schema
from headrace.wire.durations import NEVER, duration_ms, duration_text, instant_ms, rfc3339, seconds
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import ABSENT, Spec, SubmitJob
from headrace.wire.trace import NO_TRACE, Trace

PRIORITY_NAMES: Final = {"critical": 9, "high": 7, "normal": 5, "low": 2}
ENTRY_POINT_DEFAULT: Final = "_start"
GO_DURATION_MIN: Final = 1_000_000_000
"""A number from here on is Go's `time.Duration`, nanoseconds: as seconds, it is more than 31 years,
which is longer than anything may take."""
TEMPLATES_MAX: Final = 32
"""Kept of one caller; their frames are bounded by `job_texts`."""
_DIGEST_BYTES: Final = 16

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_decode_any = msgspec.json.Decoder().decode
_decode_job = msgspec.json.Decoder(SubmitJob).decode


CheckUrl = Callable[[str], str]
"""Returns the form of a webhook's URL that is sent to. Raises: ValueError with a sentence."""


def no_urls(_url: str) -> str:
    raise ValueError("nothing is sent to webhooks here")


class Submission(NamedTuple):
    """What comes with a job beside its fields."""

    caller: Caller
    now_ms: int
    """Wall clock."""
    created_at: str
    """The same, as text."""
    priority_max: int
    """A job that asks for more gets this, as a number out of range does."""
    find_type: FindType
    check_url: CheckUrl
    limited_tags: frozenset[str] = frozenset()
    """Tags that have a limit: jobs with them are counted there."""
    retention_ms_max: int | None = None
    """That a job may ask to be kept for; None: any time."""
    trace: Trace = NO_TRACE


def submission(
    caller: Caller,
    now_ms: int,
    priority_max: int = limits.PRIORITY_MAX,
    find_type: FindType = no_types,
    limited_tags: frozenset[str] = frozenset(),
    check_url: CheckUrl = no_urls,
    retention_ms_max: int | None = None,
) -> Submission:
    created_at = rfc3339(now_ms) or ""
    return Submission(
        *(caller, now_ms, created_at, priority_max, find_type, check_url, limited_tags),
        retention_ms_max,
    )


def new_job(
    job: SubmitJob,
    job_id: bytes,
    come: Submission,
    module_sha256: str = "",
    batch: Sequence[bytes] = (),
) -> NewJobs:
    """Check a job and encode its spec.

    module_sha256: hex, of the module sent or named. batch: ids of the jobs before it in its submit.

    Raises: Problem with a pointer into the job.
    """
    params, pointer = job.params, "/params"
    if module_sha256:
        params = ABSENT
    elif job.parameters:
        if params:
            raise invalid("it is an alias of params; send one of the two", "/parameters")
        params, pointer = job.parameters, "/parameters"
    after = _after(job, batch)
    template = _template(job, come, module_sha256, after)
    data = bytes(params)
    if data:
        check_json(data, pointer)
    if template.schema is not None:
        check_params(template.schema, data, pointer)
    if data:
        data = _PARAMS + data
    text = id_text(job_id).encode()
    spec = b"".join((_HEAD, text, template.middle, data, template.tail(come)))
    if len(spec) > limits.SPEC_BYTES_MAX:
        raise Problem(
            ProblemCode.SPEC_TOO_LARGE,
            f"without its module the job has {len(spec)} bytes;"
            f" {limits.SPEC_BYTES_MAX} are allowed",
            pointer="",
        )
    new = template.new(job_id, [spec])
    if new.key_digest:
        new.request_digest = _request_digest(spec, new.delay_ms, job.after)
    new.after = after
    new.any_end = job.after_any_end
    if job.await_module:
        new.await_module = True
        new.entry_point = job.entry_point or ENTRY_POINT_DEFAULT
    return new


def _after(job: SubmitJob, batch: Sequence[bytes]) -> list[bytes]:
    """Return the ids of the jobs that a job runs after."""
    found: list[bytes] = []
    for position, told in enumerate(job.after or ()):
        if isinstance(told, str):
            job_id = id_parse(told)
            if job_id is None:
                raise invalid("it is not the id of a job", f"/after/{position}")
        elif 0 <= told < len(batch):
            job_id = batch[told]
        else:
            raise invalid(
                "a number names a job that comes before it in the same array, from 0",
                f"/after/{position}",
            )
        found.append(job_id)
    return found


Templates = dict[bytes, "_Template"]
"""Of one caller, by `JobTexts.frame`: what does not depend on the time."""


class Translator:
    """Turns jobs that are alike, of one submission or of several that come at once, to `NewJobs`.

    What was learnt of a frame is kept: jobs that are framed so again, now or later, cost a check of
    their params and a join of bytes.
    """

    def __init__(self, come: Submission, templates: Templates) -> None:
        self.come = come
        self.templates = templates

    def new_jobs(self, texts: JobTexts, job_ids: bytes) -> NewJobs | None:
        """Return the jobs if all is well with them and there is nothing special about them.

        None: `new_job` has to look at each; it says what is wrong.
        """
        template = self.templates.get(texts.frame) or self._learn(texts.frame)
        if template is None:
            return None
        if not texts.plain:
            try:
                for position in range(len(texts)):
                    check_json(texts.params_of(position), "")
            except Problem:
                return None
        schema = template.schema
        if schema is not None and not all(
            schema.accepts(texts.params_of(position)) for position in range(len(texts))
        ):
            return None
        middle = template.middle + _PARAMS if texts.has_params else template.middle
        specs = texts.fill(job_ids, _HEAD, middle, template.tail(self.come))
        if max(map(len, specs)) > limits.SPEC_BYTES_MAX:
            return None
        return template.new(job_ids, specs)

    def _learn(self, frame: bytes) -> "_Template | None":
        try:
            job = _decode_job(frame)
            if _is_special(job):
                return None
            template = _template(job, self.come, "")
        except (Problem, ValueError, RecursionError):
            return None
        if _is_timeless(job):
            if len(self.templates) >= TEMPLATES_MAX:
                self.templates.clear()
            self.templates[frame] = template
        return template


def _is_special(job: SubmitJob) -> bool:
    return (
        job.wasm_module is not None
        or job.wasm_sha256 is not None
        or job.idempotency_key is not None
        or bool(job.after)
    )


def _is_timeless(job: SubmitJob) -> bool:
    return job.delay is None and job.scheduled_at is None and job.start_before is None


class _Template(NamedTuple):
    """A job without its id and params: the spec's bytes around them, and what the engine gets."""

    middle: bytes
    """From behind the id to the end of the type."""
    behind: bytes
    """From behind the params to `created_at`, which comes last."""
    like: NewJobs
    """All but its ids, specs and digest of the request."""
    schema: ParamsSchema | None
    """Of the params; None: they are anything."""

    def tail(self, come: Submission) -> bytes:
        return b'%b%b"}' % (self.behind, come.created_at.encode())

    def new(self, job_ids: bytes, specs: list[bytes]) -> NewJobs:
        new: NewJobs = self.like.__copy__()  # type: ignore[attr-defined]
        new.job_ids = job_ids
        new.specs = specs
        return new


_HEAD: Final = b'{"id":"'
_PARAMS: Final = b',"params":'
_ID_CHARS: Final = 36
_NO_TIME: Final = "-"
"""In the place of `created_at`."""


def _template(
    job: SubmitJob, come: Submission, module_sha256: str, after: Sequence[bytes] = ()
) -> _Template:
    """Check all of a job but its params."""
    is_wasm = bool(module_sha256)
    kind = None if is_wasm or job.type is None else come.find_type(job.type)
    if kind is not None:
        job = _with_defaults(job, kind)
    spec = Spec(id="-" * _ID_CHARS, name=_name(job, is_wasm), created_at=_NO_TIME)
    if is_wasm:
        _wasm_fields(job, spec, module_sha256)
    else:
        _typed_fields(job, spec)
    # A default that is spelt out is left out like one that is not: by identity, as msgspec does.
    if come.caller.tenant != spec.tenant:
        spec.tenant = come.caller.tenant
    spec.owner = come.caller.user
    if come.trace.parent:
        spec.traceparent, spec.tracestate = come.trace
    if job.queue is not None and job.queue != spec.queue:
        spec.queue = printable(job.queue, "/queue")
    spec.priority = min(priority_of(job.priority), come.priority_max)
    if job.tags:
        for position, tag in enumerate(job.tags):
            printable(tag, f"/tags/{position}")
        spec.tags = job.tags
    if job.retention is not None:
        spec.retention = _retention(job.retention, come.retention_ms_max)
    if job.webhook_url or job.webhook_url_alias:
        spec.webhook_url = _webhook_url(job, come)
    if is_wasm:
        _wasm_amounts(job.requirements)
    requirements = _requirements(job.requirements, spec, come.caller, come.limited_tags)
    if job.max_retries is None:
        spec.max_retries = limits.RETRIES_DEFAULT_WASM if is_wasm else limits.RETRIES_DEFAULT
    else:
        spec.max_retries = job.max_retries
    retry_delay_ms = limits.RETRY_DELAY_MS_DEFAULT
    if job.retry_delay is not None:
        retry_delay_ms = span_ms(job.retry_delay, "/retry_delay", limits.RETRY_DELAY_MS_MAX)
    spec.retry_delay = seconds(retry_delay_ms)
    backoff = limits.RETRY_BACKOFF_DEFAULT if job.retry_backoff is None else job.retry_backoff
    spec.retry_backoff = backoff
    timeout_ms = _timeout_ms(job.timeout)
    spec.timeout = seconds(timeout_ms)
    delay_ms, scheduled_at_ms = _when(job, spec, come.now_ms)
    planned_at_ms = scheduled_at_ms or (come.now_ms + delay_ms if delay_ms else 0)
    start_before_at_ms = 0
    if job.start_before is not None:
        start_before_at_ms = _moment_ms(job.start_before, "/start_before", come.now_ms)
        if start_before_at_ms <= planned_at_ms:
            raise invalid("it lies before the time the job is scheduled for", "/start_before")
        spec.start_before = rfc3339(start_before_at_ms)
    if after:
        spec.after = [id_text(job_id) for job_id in after]
        spec.after_any_end = job.after_any_end
    elif job.after_any_end:
        raise invalid("it goes with after", "/after_any_end")
    if job.await_module and not job.wasm_sha256:
        raise invalid("it goes with wasm_sha256", "/await_module")
    key_digest = b""
    if job.idempotency_key is not None:
        spec.idempotency_key = printable(job.idempotency_key, "/idempotency_key")
        key_digest = _digest(come.caller.tenant, spec.queue, job.idempotency_key)
    encoded = _encode(spec)
    # The params stand behind the type, which comes third and may be left out.
    behind = len(_HEAD) + _ID_CHARS + len(b'","name":') + len(_encode(spec.name))
    if spec.type:
        behind += len(b',"type":') + len(_encode(spec.type))
    return _Template(
        middle=encoded[len(_HEAD) + _ID_CHARS : behind],
        behind=encoded[behind : -len(_NO_TIME + '"}')],
        like=NewJobs(
            b"",
            [],
            requirements,
            spec.priority,
            timeout_ms,
            retry_delay_ms,
            round(backoff * 100),
            spec.max_retries,
            module_key(come.caller.tenant, bytes.fromhex(module_sha256)),
            delay_ms,
            scheduled_at_ms,
            start_before_at_ms,
            key_digest,
            webhook_url=spec.webhook_url,
            retention=spec.retention,
            planned_at_ms=planned_at_ms,
        ),
        schema=None if kind is None else kind.schema,
    )


def _with_defaults(job: SubmitJob, kind: JobType) -> SubmitJob:
    """Return a job that says what its type says, where it says nothing itself."""
    defaults = kind.defaults
    job = replace(job)
    if job.queue is None and kind.queue:
        job.queue = kind.queue
    if not job.timeout and defaults.timeout_ms is not None:
        job.timeout = seconds(defaults.timeout_ms)
    if job.max_retries is None:
        job.max_retries = defaults.max_retries
    if job.retry_delay is None and defaults.retry_delay_ms is not None:
        job.retry_delay = seconds(defaults.retry_delay_ms)
    if job.retry_backoff is None:
        job.retry_backoff = defaults.retry_backoff
    if job.priority is None:
        job.priority = defaults.priority
    if job.requirements is None:
        job.requirements = defaults.requirements
    return job


# The kind of job --------------------------------------------------------------------------------


def _name(job: SubmitJob, is_wasm: bool) -> str:
    if job.name is not None:
        return printable(job.name, "/name")
    if is_wasm:
        raise invalid("a WASM job needs a name", "/name")
    return job.type or ""


def _typed_fields(job: SubmitJob, spec: Spec) -> None:
    if job.type is None:
        raise invalid('a job needs a "type", a "wasm_module" or a "wasm_sha256"', "/type")
    spec.type = printable(job.type, "/type")
    given = {
        "entry_point": job.entry_point,
        "arguments": job.arguments,
        "environment": job.environment,
        "stdin": job.stdin,
        "success_codes": job.success_codes,
    }
    for field, value in given.items():
        if value:
            raise invalid(f"only a WASM job has {field}; a typed job has params", f"/{field}")


def _wasm_fields(job: SubmitJob, spec: Spec, module_sha256: str) -> None:
    if job.type is not None:
        raise invalid("a job has a type or a WASM module, not both", "/type")
    if job.params or job.parameters:
        raise invalid(
            "a WASM job has arguments, environment and stdin; params are for typed jobs",
            "/params" if job.params else "/parameters",
        )
    spec.wasm_sha256 = module_sha256
    spec.entry_point = printable(job.entry_point or ENTRY_POINT_DEFAULT, "/entry_point")
    arguments, environment = job.arguments or [], job.environment or {}
    for position, argument in enumerate(arguments):
        _no_nul(argument, f"/arguments/{position}")
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name:
            raise invalid("a variable's name is not empty and has no = and no NUL", "/environment")
        _no_nul(value, "/environment")
    spec.arguments, spec.environment = arguments, environment
    spec.stdin = job.stdin
    spec.success_codes = job.success_codes or []


def _webhook_url(job: SubmitJob, come: Submission) -> str:
    if job.webhook_url and job.webhook_url_alias:
        raise invalid("it is an alias of webhook_url; send one of the two", "/webhookUrl")
    try:
        return come.check_url(job.webhook_url or job.webhook_url_alias or "")
    except ValueError as error:
        pointer = "/webhook_url" if job.webhook_url else "/webhookUrl"
        raise invalid(str(error), pointer) from None


# Resources --------------------------------------------------------------------------------------


@lru_cache(1_024)
def _plain(queue: str, kind: str, tenant: str, limited_tags: frozenset[str]) -> Requirements:
    """Return the requirements of a job that asks for nothing: the same object for equal jobs."""
    return Requirements(queue, kind, Amounts(), tenant=tenant, limited_tags=limited_tags)


def _wasm_amounts(asked: schema.Requirements | None) -> None:
    if asked is None or asked.cpu_cores <= 0:
        raise invalid("a WASM job needs more than 0 cpu_cores", "/requirements/cpu_cores")
    if asked.memory_mb <= 0:
        raise invalid("a WASM job needs more than 0 memory_mb", "/requirements/memory_mb")


def _requirements(
    asked: schema.Requirements | None, spec: Spec, caller: Caller, limited_tags: frozenset[str]
) -> Requirements:
    # Without keys most jobs are of the default tenant: nothing is more or larger for its name.
    tenant = spec.tenant if caller.key_id or spec.tenant != TENANT_DEFAULT else ""
    if limited_tags:
        limited_tags = limited_tags.intersection(spec.tags)
    if asked is None:
        return _plain(spec.queue, spec.type, tenant, limited_tags)
    shown: dict[str, Any] = {}
    for field in ("cpu_cores", "memory_mb", "storage_mb", "gpu_count"):
        if value := getattr(asked, field):
            shown[field] = value
    models = gpu_models(asked.gpu_type, "/requirements/gpu_type")
    if models:
        shown["gpu_type"] = asked.gpu_type
    if asked.duration is not None:
        shown["duration"] = _expected_duration(asked.duration)
    labels = label_set(asked.labels or {}, "/requirements/labels")
    if labels:
        shown["labels"] = asked.labels
    spec.requirements = shown
    amounts = amounts_of(asked, "/requirements", up=True)
    kind = spec.type or WASM_KIND
    return Requirements(spec.queue, kind, amounts, models, labels, tenant, limited_tags)


decode_spec = msgspec.json.Decoder(Spec).decode


def requirements_of(
    told: Spec, caller: Caller, limited_tags: frozenset[str] = frozenset()
) -> Requirements:
    """Return what a stored job needs, as if its owner had sent it the way this caller comes."""
    asked = msgspec.convert(told.requirements, schema.Requirements) if told.requirements else None
    return _requirements(asked, told, caller, limited_tags)


def amounts_of(asked: schema.Requirements | schema.Resources, pointer: str, *, up: bool) -> Amounts:
    """Return amounts in whole units; a need is rounded up, what a worker has is rounded down."""
    return Amounts(
        milli(asked.cpu_cores, f"{pointer}/cpu_cores", limits.CPU_MILLI_MAX, up=up),
        asked.memory_mb,
        asked.storage_mb,
        milli(asked.gpu_count, f"{pointer}/gpu_count", limits.GPU_MILLI_MAX, up=up),
    )


def milli(value: float, pointer: str, most: int, *, up: bool) -> int:
    """Return thousandths. What is a whole number but for the noise of floats is that number."""
    if not math.isfinite(value) or value > most / 1000:
        raise invalid(f"at most {most // 1000} can be asked for", pointer)
    exact = value * 1000
    near = round(exact)
    if abs(exact - near) < 1e-6:
        return near
    return math.ceil(exact) if up else math.floor(exact)


def gpu_models(given: str | list[str] | None, pointer: str) -> frozenset[str]:
    """Return the alternatives; empty text, as Go clients send it, is none."""
    if not given:
        return frozenset()
    if isinstance(given, str):
        return frozenset({printable(given, pointer)})
    if len(given) > limits.GPU_TYPES_MAX:
        raise invalid(f"at most {limits.GPU_TYPES_MAX} alternatives", pointer)
    return frozenset(
        printable(model, f"{pointer}/{position}") for position, model in enumerate(given)
    )


def label_set(labels: dict[str, str], pointer: str) -> frozenset[str]:
    """Return `key=value` texts. A key has no `=`, so that no two labels read the same."""
    if not labels:
        return frozenset()
    if len(labels) > limits.LABELS_MAX:
        raise invalid(f"at most {limits.LABELS_MAX} labels", pointer)
    for key, value in labels.items():
        if not key or "=" in key or not _is_name(key) or (value and not _is_name(value)):
            raise invalid(
                "a label's key and value are printable and of at most"
                f" {limits.NAME_CHARS_MAX} characters, the key not empty and without =",
                pointer,
            )
    return frozenset(f"{key}={value}" for key, value in labels.items())


def _expected_duration(value: float | str) -> int | float:
    """Return seconds."""
    return seconds(span_ms(value, "/requirements/duration", limits.DELAY_MS_MAX))


# Scalars ----------------------------------------------------------------------------------------


def priority_of(value: int | str | None) -> int:
    """Return 0..9; out of range becomes the nearest."""
    if value is None:
        return limits.PRIORITY_DEFAULT
    if isinstance(value, str):
        known = PRIORITY_NAMES.get(value)
        if known is None:
            raise invalid(f"a priority is 0..9 or one of {', '.join(PRIORITY_NAMES)}", "/priority")
        return known
    return max(limits.PRIORITY_MIN, min(limits.PRIORITY_MAX, value))


def _timeout_ms(value: float | str | None) -> int:
    """Return the timeout. 0 and empty text, which published clients send, mean the default."""
    if value is None or value == "" or value == 0:
        return limits.TIMEOUT_MS_DEFAULT
    return span_ms(value, "/timeout", limits.TIMEOUT_MS_MAX, limits.TIMEOUT_MS_MIN)


def _retention(value: float | str, most_ms: int | None) -> schema.Retention:
    if value == NEVER and most_ms is None:
        return NEVER
    kept_ms = None if value == NEVER else span_ms(value, "/retention", limits.OPERATOR_SPAN_MS_MAX)
    if kept_ms is None or (most_ms is not None and kept_ms > most_ms):
        raise invalid(f"at most {duration_text(most_ms or 0)} may be asked for", "/retention")
    return seconds(kept_ms)


def _when(job: SubmitJob, spec: Spec, now_ms: int) -> tuple[int, int]:
    """Return the delay and the wall clock time; at most one is not 0."""
    if job.delay is not None and job.scheduled_at is not None:
        raise invalid("send delay or scheduled_at, not both", "/delay")
    if job.delay is not None:
        delay_ms = span_ms(job.delay, "/delay", limits.DELAY_MS_MAX)
        if delay_ms:
            spec.scheduled_at = rfc3339(now_ms + delay_ms)
        return delay_ms, 0
    if job.scheduled_at is not None:
        at_ms = _moment_ms(job.scheduled_at, "/scheduled_at", now_ms)
        spec.scheduled_at = rfc3339(at_ms)
        return 0, at_ms
    return 0, 0


def span_ms(value: float | str, pointer: str, most_ms: int, least_ms: int = 0) -> int:
    """Return milliseconds of a duration within its bounds."""
    assert most_ms < GO_DURATION_MIN * 1000
    if not isinstance(value, str) and GO_DURATION_MIN <= value < 1 << 63:
        value = value / 1e9
    try:
        ms = duration_ms(value)
    except OverflowError:
        raise invalid("a duration is 0 or more seconds, and finite", pointer) from None
    except ValueError as error:
        raise invalid(str(error), pointer) from None
    if not least_ms <= ms <= most_ms:
        raise invalid(f"it must lie between {least_ms} ms and {most_ms // 1000} s", pointer)
    return ms


def _moment_ms(value: float | str, pointer: str, now_ms: int) -> int:
    try:
        at_ms = instant_ms(value)
    except OverflowError:
        raise invalid("an instant must lie between 1970 and the year 2286", pointer) from None
    except ValueError as error:
        raise invalid(str(error), pointer) from None
    if at_ms > now_ms + limits.DELAY_MS_MAX:
        raise invalid(
            f"it must lie within {limits.DELAY_MS_MAX // limits.DAY_MS} days from now", pointer
        )
    return at_ms


def check_json(data: bytes, pointer: str) -> None:
    """Refuse what some decoder downstream would refuse: nesting, numbers, text.

    The decoder of the body has only found where the value ends.
    """
    if json_is_plain(data, limits.JSON_DEPTH_MAX):
        return
    try:
        _decode_any(data)
    except (ValueError, RecursionError):
        raise invalid(
            "it is not JSON that every client can read: bad UTF-8 or surrogates,"
            " numbers out of range, or too deep",
            pointer,
        ) from None
    if too_deep(data):
        raise invalid(f"it is nested deeper than {limits.JSON_DEPTH_MAX}", pointer)


def too_deep(data: bytes, most: int = limits.JSON_DEPTH_MAX) -> bool:
    """Return whether valid JSON nests deeper than `most`.

    Brackets alone are kept, then a level is peeled at a time. Cost: O(n), all of it inside C.
    """
    if data.count(b"[") + data.count(b"{") <= most:
        return False
    brackets = _JSON_TEXT.sub(b"", data).translate(_SAME_BRACKETS, _NO_BRACKETS)
    for _ in range(most):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


_JSON_TEXT: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SAME_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def printable(text: str, pointer: str) -> str:
    """Names go to logs, metrics and terminals, so they hold nothing that could act there."""
    if not _is_name(text):
        raise invalid(
            f"it has 1 to {limits.KEY_CHARS_MAX} printable characters, no control characters",
            pointer,
        )
    return text


def _is_name(text: str) -> bool:
    return 0 < len(text) <= limits.KEY_CHARS_MAX and text.isprintable()


def _no_nul(text: str, pointer: str) -> None:
    if "\0" in text:
        raise invalid("it holds a NUL character", pointer)


def invalid(detail: str, pointer: str) -> Problem:
    return Problem(ProblemCode.FIELD_INVALID, detail, pointer=pointer)


# Digests ----------------------------------------------------------------------------------------


def _digest(*parts: str | bytes) -> bytes:
    return blake2b(b"\0".join(_bytes(parts)), digest_size=_DIGEST_BYTES).digest()


def _bytes(parts: Iterable[str | bytes]) -> Iterable[bytes]:
    return (part.encode() if isinstance(part, str) else part for part in parts)


def _request_digest(spec: bytes, delay_ms: int, after: Sequence[int | str] | None) -> bytes:
    """Digest what the client asked for: not the id, time or trace, and members in any order."""
    asked = _decode_any(spec)
    for made_here in ("id", "created_at", "traceparent", "tracestate"):
        asked.pop(made_here, None)
    if delay_ms:
        asked["scheduled_at"] = delay_ms
    if after:
        asked["after"] = after  # a number of its array names another id each time
    return _digest(_encode_sorted(asked))
