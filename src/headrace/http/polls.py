"""The worker protocol's words to the engine's, and back. Pure."""

import base64
import binascii
import math
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from headrace._native import acks_json, reports_read
from headrace._native import work_json as native_work_json
from headrace.core import commands
from headrace.core.commands import Completed, Completions, Grants, Outcome, Poll, PollReply
from headrace.core.intake import amounts_of, check_json, gpu_models, invalid, label_set, span_ms
from headrace.core.job import Status
from headrace.core.resources import Profile
from headrace.http.decode import decode
from headrace.http.views import word
from headrace.wire import limits, schema
from headrace.wire.events import check_emitted
from headrace.wire.outcomes import RESULT_TOO_LARGE, result_too_large
from headrace.wire.problems import Problem
from headrace.wire.schema import ABSENT, LeaseProgress, LeaseReport, PollRequest

OUTCOMES: Final = {outcome.name.lower(): outcome for outcome in Outcome}
EVERY: Final = "*"
_NOTHING: Final = b"{}"
_BASE64_OUTPUT_CHARS_MAX: Final = (limits.OUTPUT_BYTES_MAX + 2) // 3 * 4

_encode: Final = msgspec.json.Encoder().encode


class Caps(NamedTuple):
    """What an operator lets an attempt leave behind."""

    result_bytes: int = limits.OUTPUT_BYTES_MAX
    output_bytes: int = limits.OUTPUT_BYTES_MAX


WIDEST: Final = Caps()
"""As much as a report may carry."""


class _PollOutside(PollRequest, kw_only=True):
    """A poll whose reports are not decoded yet."""

    reports: msgspec.Raw = msgspec.Raw(b"[]")  # type: ignore[assignment]


_poll_decoder: Final = msgspec.json.Decoder(PollRequest)
_outside_decoder: Final = msgspec.json.Decoder(_PollOutside)
_report_decoder: Final = msgspec.json.Decoder(schema.Report)


def poll_command(data: bytes, ticket: int, caps: Caps = WIDEST) -> Poll:
    """Raises: Problem BODY_MALFORMED, FIELD_INVALID with a pointer into the body."""
    body, reports = _poll_read(data, caps)
    return Poll(
        ticket,
        body.worker,
        body.session,
        body.seq,
        profile_of(body),
        amounts_of(body.free, "/free", up=False),
        None if body.total is None else amounts_of(body.total, "/total", up=False),
        body.max_jobs,
        span_ms(body.wait, "/wait", limits.WAIT_MS_MAX),
        _report_commands(reports, caps),
        [
            progress_command(news, news.lease, f"/progress/{position}")
            for position, news in enumerate(body.progress)
        ],
        body.running,
    )


def bind(command: Poll, tenant: str) -> None:
    """Let a worker have jobs of its tenant only, and speak for no others. Sessions of tenants are
    apart: who names one gets the jobs again that it was given."""
    command.profile = replace(command.profile, tenant=tenant)
    if command.session:
        command.session = f"{tenant}\0{command.session}"


def _poll_read(data: bytes, caps: Caps) -> tuple[PollRequest, list[schema.Report | Completions]]:
    """Decode a poll, most reports in runs.

    What is wrong anywhere is left to the decoder of the whole: it knows where, and says it.
    """
    try:
        body = _outside_decoder.decode(data)
        found = reports_read(bytes(body.reports), caps.result_bytes, limits.JSON_DEPTH_MAX)
        reports: list[schema.Report | Completions] = [
            Completions(*each) if isinstance(each, tuple) else _report_decoder.decode(each)
            for each in found or ()
        ]
    except (ValueError, RecursionError):
        found = None
    if found is None or sum(map(_count, reports)) > limits.POLL_REPORTS_MAX:
        whole = decode(_poll_decoder, data)
        return whole, [*whole.reports]
    return body, reports


def _count(reports: schema.Report | Completions) -> int:
    return len(reports) if isinstance(reports, Completions) else 1


def _report_commands(
    reports: list[schema.Report | Completions], caps: Caps
) -> list[commands.Report | Completions]:
    made: list[commands.Report | Completions] = []
    for told in reports:
        if isinstance(told, Completions):
            made.append(told)
            continue
        try:
            made.append(report_command(told, told.lease, OUTCOMES[told.outcome], caps))
        except Problem as problem:
            position = sum(map(_count, reports[: len(made)]))
            problem.pointer = f"/reports/{position}{problem.pointer or ''}"
            raise
    return made


def profile_of(body: PollRequest) -> Profile:
    serve = body.serve
    models = gpu_models(body.free.gpu_type, "/free/gpu_type")
    if not models and body.total is not None:
        models = gpu_models(body.total.gpu_type, "/total/gpu_type")
    return Profile(
        types=_served(serve.types),
        wasm=serve.wasm,
        queues=_served(serve.queues),
        gpu_model=next(iter(models), ""),
        labels=label_set(body.labels, "/labels"),
    )


def _served(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None or EVERY in names else frozenset(names)


def report_command(
    told: LeaseReport, lease: str, outcome: Outcome, caps: Caps = WIDEST
) -> commands.Report:
    """Check a report and encode what is kept of it.

    A result beyond the operator's cap fails the attempt instead of the request, which may carry
    other reports and would be sent again and again.
    """
    body = _body(told, caps)
    permanent, error, code = told.permanent, told.error or "", told.code or ""
    result_bytes = len(bytes(told.result))
    if outcome is Outcome.COMPLETED and result_bytes > caps.result_bytes:
        outcome, permanent, code = Outcome.FAILED, True, RESULT_TOO_LARGE
        error = result_too_large(result_bytes, caps.result_bytes)
    retry_delay_ms = None
    if told.retry_delay is not None:
        retry_delay_ms = span_ms(told.retry_delay, "/retry_delay", limits.RETRY_DELAY_MS_MAX)
    checkpoint = b""
    if told.checkpoint is not ABSENT and (checkpoint := bytes(told.checkpoint)):
        check_json(checkpoint, "/checkpoint")
        if len(checkpoint) > limits.SPEC_BYTES_MAX:
            raise invalid(f"at most {limits.SPEC_BYTES_MAX} bytes", "/checkpoint")
    return commands.Report(
        lease,
        outcome,
        body,
        permanent,
        error,
        code,
        retry_delay_ms,
        checkpoint or None,
    )


def _body(told: LeaseReport, caps: Caps) -> bytes:
    """Return what is kept of a report, checked and encoded; nothing for one without any."""
    if (
        told.result is ABSENT
        and told.output is None
        and told.exit_code is None
        and not told.metrics
        and not told.output_cut
    ):
        return b""
    output, output_cut = told.output, told.output_cut
    result = bytes(told.result)
    if result:
        if len(result) > limits.OUTPUT_BYTES_MAX:
            raise invalid(f"at most {limits.OUTPUT_BYTES_MAX} bytes", "/result")
        check_json(result, "/result")
    if told.output is not None:
        if len(told.output) > _BASE64_OUTPUT_CHARS_MAX:
            raise invalid(
                f"at most {limits.OUTPUT_BYTES_MAX} bytes; cut it and set output_cut",
                "/output",
            )
        try:
            raw = base64.b64decode(told.output, validate=True)
        except (binascii.Error, ValueError):
            raise invalid("it is not base64", "/output") from None
        if len(raw) > caps.output_bytes:
            output, output_cut = base64.b64encode(raw[: caps.output_bytes]).decode(), True
    if not all(map(math.isfinite, told.metrics.values())):
        raise invalid("a metric is a finite number", "/metrics")
    body = _encode(
        schema.ReportBody(
            result=told.result if len(result) <= caps.result_bytes else ABSENT,
            output=output,
            output_cut=output_cut,
            exit_code=told.exit_code,
            metrics=told.metrics,
        )
    )
    return b"" if body == _NOTHING else body


def progress_command(news: LeaseProgress, lease: str, pointer: str = "") -> commands.Progress:
    log = (news.log or "").encode()
    if len(log) > limits.LOG_BYTES_MAX:
        raise invalid(f"at most {limits.LOG_BYTES_MAX} bytes at once", f"{pointer}/log")
    events = [
        emitted_event(one, f"{pointer}/events/{position}")
        for position, one in enumerate(news.events)
    ]
    return commands.Progress(lease, news.started, news.progress, news.details, log, events)


def emitted_event(told: schema.Emitted, pointer: str) -> tuple[str, bytes]:
    """Check an event that a handler emits."""
    try:
        name = check_emitted(told.name)
    except ValueError as error:
        raise invalid(str(error), f"{pointer}/name") from None
    data = bytes(told.data)
    if data:
        check_json(data, f"{pointer}/data")
        if len(data) > limits.EVENT_DATA_BYTES_MAX:
            raise invalid(f"at most {limits.EVENT_DATA_BYTES_MAX} bytes", f"{pointer}/data")
    return name, data


# Answers ----------------------------------------------------------------------------------------


def ack_view(ack: commands.Ack) -> schema.Ack:
    if ack.problem is not None:
        return schema.Ack(lease=ack.lease, problem=ack.problem.members())
    return schema.Ack(
        lease=ack.lease, ok=True, status=None if ack.status is None else word(ack.status)
    )


def order_view(order: commands.Order) -> schema.Order:
    return schema.Order(do=order.do, lease=order.lease or None)  # type: ignore[arg-type]


def work_json(grants: Grants, specs: list[bytes | None], checkpoints: dict[int, bytes]) -> bytes:
    """Return `schema.Work` of each job that has a spec, apart by commas."""
    return native_work_json(
        grants.leases, grants.records, grants.deadlines_at_ms, specs, checkpoints
    )


class _PollAnswer(msgspec.Struct, kw_only=True):
    """`schema.PollAnswer`, its longest parts written already."""

    acks: msgspec.Raw
    jobs: msgspec.Raw
    control: list[schema.Order]
    lease_term: str
    poll_again: str = "0s"
    result_max: int
    output_max: int


assert _PollAnswer.__struct_fields__ == schema.PollAnswer.__struct_fields__
_COMPLETED: Final = _encode(
    schema.Ack(lease="|", ok=True, status=word(Status.COMPLETED))
).partition(b"|")


def _acks_json(acks: list[commands.Ack | Completed]) -> bytes:
    before, _, behind = _COMPLETED
    return b",".join(
        acks_json(ack.leases, before, behind)
        if isinstance(ack, Completed)
        else _encode(ack_view(ack))
        for ack in acks
    )


def poll_answer(reply: PollReply, jobs: bytes, lease_ms: int, caps: Caps = WIDEST) -> _PollAnswer:
    """Return the answer with `jobs`, which `work_json` wrote."""
    return _PollAnswer(
        acks=msgspec.Raw(b"[%b]" % _acks_json(reply.acks)),
        jobs=msgspec.Raw(b"[%b]" % jobs),
        control=[order_view(order) for order in reply.orders],
        lease_term=duration_text(lease_ms),
        result_max=caps.result_bytes,
        output_max=caps.output_bytes,
    )


def duration_text(ms: int) -> str:
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms}ms"
