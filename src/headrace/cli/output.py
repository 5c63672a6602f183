"""How jobs are shown: results on standard output, everything else on standard error."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.sdk.client import Job
    from headrace.sdk.views import JobView

STATUS_STYLES: Final = {
    "completed": "green",
    "failed": "red",
    "timeout": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
    "running": "cyan",
    "locked": "cyan",
    "canceling": "yellow",
    "suspending": "yellow",
    "suspended": "magenta",
}


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def print_json(body: bytes) -> None:
    """Print JSON for people and for programs."""
    text = msgspec.json.format(body, indent=2).decode()
    click.echo(text)


def print_result(job: "Job") -> None:
    """Print what a job produced, and nothing else, on standard output."""
    if job.result.output is not None and not job.job.type:
        sys.stdout.flush()
        sys.stdout.buffer.write(job.output)
        sys.stdout.buffer.flush()
        if job.result.output_cut:
            click.echo("headrace: the output was longer; the rest was cut off", err=True)
    elif job.completed or job.value is not None:
        print_json(bytes(job.result.result) or b"null")
    if job.finished and not job.completed:
        code = f" [{job.result.code}]" if job.result.code else ""
        reason = f": {job.error}" if job.error else ""
        click.echo(f"headrace: job {job.id} ended as {job.status}{code}{reason}", err=True)


def print_job(job: "Job") -> None:
    """Print all that matters of one job."""
    from rich.markup import escape
    from rich.table import Table

    view, result = job.job, job.result
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in (
        ("job", view.id),
        ("name", view.name),
        ("type", view.type or "WASM module"),
        ("status", None),
        ("progress", _progress(view)),
        ("owner", view.owner),
        ("queue", f"{view.queue}, priority {view.priority}"),
        ("needs", _needs(view.requirements)),
        ("worker", result.worker_id or view.locked_by),
        ("attempt", _attempts(view)),
        ("created", _when(view.created_at)),
        ("scheduled", _when(view.scheduled_at)),
        ("started", _when(result.started_at or view.started_at)),
        ("finished", _when(result.finished_at or view.finished_at)),
        ("exit code", result.exit_code),
        ("error", job.error),
        ("result", None if job.value is None else bytes(result.result).decode()),
        ("output", _output(job)),
        ("metrics", ", ".join(f"{key} {value:g}" for key, value in result.metrics.items())),
    ):
        if name == "status":
            table.add_row(name, _status(view.status))
        elif value not in (None, ""):
            table.add_row(name, escape(str(value)))
    console().print(table)


def print_jobs(views: "Iterable[JobView]") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("job", "name", "status", "prio", "queue", "try", "done", "age"):
        table.add_column(title, no_wrap=title not in ("name", "queue", "done"), overflow="fold")
    for view in views:
        table.add_row(
            view.id,
            escape(view.name),
            _status(view.status),
            str(view.priority),
            escape(view.queue),
            str(view.attempt),
            _progress(view) or "",
            _age_of(view.created_at),
        )
    out = console()
    if not out.is_terminal:
        out.width = 200  # a pipe has no width; do not fold for one
    out.print(table)


def _status(status: str) -> str:
    style = STATUS_STYLES.get(status)
    return f"[{style}]{status}[/]" if style else status


def _progress(view: "JobView") -> str | None:
    if not view.progress and not view.progress_details:
        return None
    text = f"{view.progress:.0%}"
    return f"{text} {view.progress_details}" if view.progress_details else text


def _needs(requirements: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in requirements.items() if value)


def _attempts(view: "JobView") -> str:
    parts = [str(view.attempt)]
    for name, count in (
        ("failures", view.failures),
        ("crashes", view.crashes),
        ("planned stops", view.stops),
    ):
        if count:
            parts.append(f"{count} {name}")
    return f"{', '.join(parts)} (retries: {view.max_retries})"


def _output(job: "Job") -> str | None:
    if not job.result.output:
        return None
    text = job.output.decode("utf-8", "replace")
    return text + ("[cut]" if job.result.output_cut else "")


def _when(instant: str | None) -> str:
    if not instant:
        return ""
    moment = datetime.fromisoformat(instant)
    age_s = (datetime.now(UTC) - moment).total_seconds()
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}{_age(age_s)}"


def _age_of(instant: str | None) -> str:
    if not instant:
        return ""
    return _span((datetime.now(UTC) - datetime.fromisoformat(instant)).total_seconds())


def _age(age_s: float) -> str:
    if age_s < 0:
        return f" (in {_span(-age_s)})"
    return f" ({_span(age_s)} ago)"


def _span(span_s: float) -> str:
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if span_s >= size_s:
            return f"{span_s // size_s:.0f}{unit}"
    return f"{span_s:.0f}s"
