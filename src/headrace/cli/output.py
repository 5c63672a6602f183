"""How jobs are shown: results on standard output, everything else on standard error."""

import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import BarColumn

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
    "paused": "magenta",
    # of workers, webhooks, deliveries, keys, demand
    "active": "green",
    "draining": "yellow",
    "drained": "yellow",
    "silent": "red",
    "delivered": "green",
    "disabled": "red",
    "revoked": "red",
    "expired": "yellow",
    "never": "red",
    "unknown": "yellow",
}
STYLED: Final = frozenset({"", "status", "fit"})
"""Columns of such words."""

LIST_TITLES: Final = ("job", "name", "status", "prio", "queue", "try", "done", "age")
LIST_STATUS: Final = LIST_TITLES.index("status")
LIST_USUAL: Final = {
    "prio": {"5"},
    "queue": {"default"},
    "try": {"0", "1"},
    "done": {"", "100%"},
}
"""What tells nothing in a column, and lets a narrow terminal do without it."""
LIST_CUT: Final = frozenset({"name", "queue", "done"})
"""Columns that lose their ends when there is no room."""
LIST_CELLS_ALL: Final = 120
"""From this width every column is shown."""
CUT_CELLS_MIN: Final = 10
"""What is cut keeps so much."""
GAP_CELLS: Final = 2
BAR_CELLS: Final = 20
"""Of a bar of progress."""
LIST_CELLS_PIPE: Final = 200
"""A pipe has no width; nothing is cut for one."""


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def bar_column() -> "BarColumn":
    """Return a bar of progress; rich's own is red, which says that something is wrong."""
    from rich.progress import BarColumn

    return BarColumn(BAR_CELLS, complete_style="cyan", pulse_style="cyan", finished_style="green")


def print_json(body: bytes) -> None:
    """Print JSON for people and for programs."""
    text = msgspec.json.format(body, indent=2).decode()
    click.echo(text)


def print_struct(value: Any) -> None:
    """Print an answer, or a list of them, as JSON."""
    print_json(msgspec.json.encode(value))


def print_table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    cut: Collection[str] = (),
    drop: Sequence[str] = (),
) -> None:
    """Print a table that fits the terminal; a column that is empty everywhere is left out.

    right: titles of numbers. cut: of columns that lose their ends when there is no room. drop: of
    those that are left out, one after the other, while there is still none.
    """
    from rich.table import Table
    from rich.text import Text

    known = list(rows)
    out = console()
    if not out.is_terminal:
        out.width = LIST_CELLS_PIPE
    widths = {
        at: max(len(title), *(len(row[at]) for row in known))
        for at, title in enumerate(titles)
        if any(row[at] for row in known)
    }
    least = {
        at: min(width, CUT_CELLS_MIN) if titles[at] in cut else width
        for at, width in widths.items()
    }
    for title in drop:
        if sum(least.values()) + GAP_CELLS * (len(least) - 1) > out.width:
            least.pop(titles.index(title), None)
    shown = list(least)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for at in shown:
        table.add_column(
            titles[at],
            no_wrap=titles[at] not in cut,
            justify="right" if titles[at] in right else "left",
        )
    for row in known:
        table.add_row(
            *(
                Text(
                    row[at],
                    style=STATUS_STYLES.get(row[at], "") if titles[at] in STYLED else "",
                    no_wrap=True,
                    overflow="ellipsis",
                )
                for at in shown
            )
        )
    out.print(table)


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
    """Print a line for each job. A narrow terminal gets no column that tells nothing."""
    from rich.table import Table
    from rich.text import Text

    rows = [
        (
            view.id,
            view.name,
            view.status,
            str(view.priority),
            view.queue,
            str(view.attempt),
            _progress(view) or "",
            age_of(view.created_at),
        )
        for view in views
    ]
    out = console()
    if not out.is_terminal:
        out.width = LIST_CELLS_PIPE
    shown = [
        index
        for index, title in enumerate(LIST_TITLES)
        if out.width >= LIST_CELLS_ALL
        or title not in LIST_USUAL
        or any(row[index] not in LIST_USUAL[title] for row in rows)
    ]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index in shown:
        table.add_column(LIST_TITLES[index], no_wrap=LIST_TITLES[index] not in LIST_CUT)
    for row in rows:
        table.add_row(
            *(
                Text(
                    row[index],
                    style=STATUS_STYLES.get(row[index], "") if index == LIST_STATUS else "",
                    no_wrap=True,
                    overflow="ellipsis",
                )
                for index in shown
            )
        )
    out.print(table)


def print_explanation(answer: dict[str, Any]) -> None:
    """Print why a job waits, the most telling reason first."""
    reasons = answer.get("reasons") or ["it does not wait"]
    click.echo(f"{answer.get('status')}: {reasons[0]}")
    for reason in reasons[1:]:
        click.echo(f"  also: {reason}")
    capacity = answer.get("queue_capacity")
    of = "" if capacity is None else f" of {capacity}"
    click.echo(
        f"  workers that fit: {answer.get('workers_fit')} of {answer.get('workers_known')} known; "
        f"running in its queue: {answer.get('queue_running')}{of}{_position(answer)}"
    )
    quota = answer.get("quota") or {}
    for name, most in (("jobs", "jobs_max"), ("bytes", "bytes_max")):
        if quota.get(most) is not None:
            click.echo(f"  {name} of its tenant: {quota[name]:,} of {quota[most]:,}")


def _position(answer: dict[str, Any]) -> str:
    least, most = answer.get("position_min"), answer.get("position_max")
    if least is None or most is None:
        return ""
    return f"; jobs before it: {least}" + ("" if least == most else f" to {most}")


def amounts_text(amounts: Any) -> str:
    """Return amounts of resources in words, without those that are not said or zero."""
    return ", ".join(
        f"{amount:,.10g} {unit}"
        for amount, unit in (
            (amounts.cpu_cores, "cores"),
            (amounts.memory_mb, "MB"),
            (amounts.storage_mb, "MB of storage"),
            (amounts.gpu_count, "GPU"),
        )
        if amount
    )


def cut_text(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


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
    for one, many, count in (
        ("failure", "failures", view.failures),
        ("crash", "crashes", view.crashes),
        ("planned stop", "planned stops", view.stops),
    ):
        if count:
            parts.append(f"{count} {one if count == 1 else many}")
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


def age_of(instant: str | None) -> str:
    if not instant:
        return ""
    return span_text((datetime.now(UTC) - datetime.fromisoformat(instant)).total_seconds())


def _age(age_s: float) -> str:
    if age_s < 0:
        return f" (in {span_text(-age_s)})"
    return f" ({span_text(age_s)} ago)"


def span_text(span_s: float) -> str:
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if span_s >= size_s:
            return f"{span_s // size_s:.0f}{unit}"
    return f"{span_s:.0f}s"
