"""One attempt, as everybody in the worker sees it: what was given, why it stops, how it ended."""

import base64
import logging
from enum import StrEnum, unique
from typing import Any, Final, Literal

import msgspec

from headrace.wire import limits
from headrace.wire.outcomes import RESULT_TOO_LARGE, result_too_large
from headrace.wire.schema import ABSENT, OutcomeWord, Report, Spec

ERROR_TAIL_MARK: Final = " […]"

log = logging.getLogger("headrace.worker")


@unique
class StopReason(StrEnum):
    """Why an attempt is asked to stop before its end."""

    CANCEL = "cancel"  # a client cancelled the job
    TIMEOUT = "timeout"  # it ran longer than the job allows
    SUSPEND = "suspend"  # a client wants it to pause at a checkpoint
    DRAIN = "drain"  # this worker shuts down; the job goes to another one
    LOST = "lost"  # the lease is another worker's now: nothing is reported


class Assignment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job as it was given to this worker."""

    lease: str
    spec: Spec
    attempt: int
    checkpoint: msgspec.Raw = ABSENT
    """JSON that an earlier attempt left."""


class Ending(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """How the code of an attempt ended. `report_of` makes it the worker's word to the server."""

    outcome: Literal["completed", "failed", "snoozed", "timeout", "stopped"]
    """`stopped`: it was asked to stop and did, or it was killed."""
    result: bytes | None = None
    """JSON."""
    output: str | None = None
    """Base64."""
    output_cut: bool = False
    exit_code: int | None = None
    error: str | None = None
    code: str | None = None
    permanent: bool = False
    retry_delay_s: float | None = None
    checkpoint: bytes | None = None
    """JSON."""
    metrics: dict[str, float] = {}


_OUTCOME_OF_STOP: Final[dict[StopReason, OutcomeWord]] = {
    StopReason.CANCEL: "cancelled",
    StopReason.TIMEOUT: "timeout",
    StopReason.SUSPEND: "suspended",
    StopReason.DRAIN: "released",
    StopReason.LOST: "released",  # never sent
}


def report_of(lease: str, ending: Ending, reason: StopReason | None) -> Report:
    """Return what the server is told.

    An attempt that completed says so, even if it was asked to stop meanwhile: its effects have
    happened. One that failed after it was asked to stop counts as stopped, since the stop is the
    likely cause; except for a suspend and a drain, which only ask and break nothing.
    """
    outcome: OutcomeWord
    error, code = ending.error, ending.code
    if ending.outcome == "stopped":
        if reason is None:
            outcome = "failed"
            error = error or "the handler stopped without being asked to"
            code = code or "stopped_unasked"
        else:
            outcome = _OUTCOME_OF_STOP[reason]
    elif ending.outcome == "failed" and reason in (StopReason.CANCEL, StopReason.TIMEOUT):
        outcome = _OUTCOME_OF_STOP[reason]
    else:
        outcome = ending.outcome
    return Report(
        lease=lease,
        outcome=outcome,
        result=ABSENT if ending.result is None else msgspec.Raw(ending.result),
        output=ending.output,
        output_cut=ending.output_cut,
        exit_code=ending.exit_code,
        metrics=ending.metrics,
        error=None if error is None else cut_text(sendable(error), limits.ERROR_CHARS_MAX),
        code=None if code is None else cut_text(sendable(str(code)), limits.NAME_CHARS_MAX),
        permanent=ending.permanent,
        retry_delay=ending.retry_delay_s,
        checkpoint=ABSENT if ending.checkpoint is None else msgspec.Raw(ending.checkpoint),
    )


def within(report: Report, result_bytes_max: int, output_bytes_max: int) -> Report:
    """Hold a report to what this server keeps: a larger result fails the attempt, and output is
    cut."""
    if report.output is not None and len(report.output) > output_bytes_max:
        raw = base64.b64decode(report.output)
        if len(raw) > output_bytes_max:
            output = base64.b64encode(raw[:output_bytes_max]).decode()
            report = msgspec.structs.replace(report, output=output, output_cut=True)
    result_bytes = len(bytes(report.result))
    if result_bytes <= result_bytes_max:
        return report
    if report.outcome != "completed":
        return msgspec.structs.replace(report, result=ABSENT)
    return msgspec.structs.replace(
        report,
        outcome="failed",
        result=ABSENT,
        error=result_too_large(result_bytes, result_bytes_max),
        code=RESULT_TOO_LARGE,
        permanent=True,
    )


def sendable(text: str) -> str:
    """JSON carries no lone surrogates; handlers' text may hold some."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def cut_text(text: str, chars_max: int) -> str:
    """Return the text, or its beginning and a mark."""
    if len(text) <= chars_max:
        return text
    return text[: chars_max - len(ERROR_TAIL_MARK)] + ERROR_TAIL_MARK


def failed(error: str, code: str | None = None, *, permanent: bool = False) -> Ending:
    return Ending(outcome="failed", error=error, code=code, permanent=permanent)


def defect(error: Exception) -> Ending:
    """Return the ending of an attempt that met a bug of the worker."""
    log.error("a defect of the worker ended an attempt", exc_info=error)
    return failed(f"a defect of the worker: {type(error).__name__}: {error}", "worker_defect")


def completed(value: Any) -> Ending:
    """Encode a handler's return value. One that JSON cannot carry is the handler's failure."""
    try:
        result = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as error:
        return failed(
            f"the handler returned what JSON cannot carry: {error}",
            "result_invalid",
            permanent=True,
        )
    if len(result) > limits.OUTPUT_BYTES_MAX:
        said = result_too_large(len(result), limits.OUTPUT_BYTES_MAX)
        return failed(said, RESULT_TOO_LARGE, permanent=True)
    return Ending(outcome="completed", result=result)
