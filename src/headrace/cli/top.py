"""`headrace top`: a server as it goes, on one screen.

Only questions that cost the server the same at ten jobs and at ten million are asked.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from headrace.cli.app import EXIT_OK
from headrace.cli.jobs import with_client
from headrace.cli.options import server_options
from headrace.sdk.client import AsyncClient
from headrace.sdk.errors import ServerProblem, ServerUnreachable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

INTERVAL_S_DEFAULT: Final = 1.0
HISTORY: Final = 120
"""Looks that are remembered."""
ROWS_MIN: Final = 8
ROWS_MAX: Final = 50
"""Of each table."""
LINES_ABOVE: Final = 16
"""What stands above jobs and workers, with three queues."""
BARS: Final = "▁▂▃▄▅▆▇█"
RATES: Final = (
    ("submitted", "enqueued", "cyan"),
    ("started", "dequeued", "blue"),
    ("completed", "completed", "green"),
    ("failed", "failed", "red"),
)
"""What is shown, the counter it is of, its colour."""
WIDE_CELLS: Final = 120
"""From this width jobs and workers stand side by side."""
QUEUE_ROWS_ALWAYS: Final = ("default",)


@click.command(
    "top",
    epilog="""\b
Examples:
  headrace top
  headrace top --interval 5
  headrace top --once                    one picture, for a script or a report

\b
Rates are of the time between two looks. Leave it with Ctrl-C.""",
)
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.2, 60),
    default=INTERVAL_S_DEFAULT,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Print one picture and end.")
@server_options
def top_command(interval_s: float, once: bool, **server: Any) -> int:
    """Watch a server: rates, queues, workers and running jobs."""
    screen = Screen(server["url"])

    async def show(client: AsyncClient) -> int:
        await screen.look(client)
        if once:
            await asyncio.sleep(interval_s)
            await screen.look(client)
            _print(screen)
            return EXIT_OK
        await _live(client, screen, interval_s)
        return EXIT_OK

    return with_client(server, show)


def _print(screen: "Screen") -> None:
    from headrace.cli.output import LIST_CELLS_PIPE, console

    out = console()
    if not out.is_terminal:
        out.width = LIST_CELLS_PIPE // 2
    out.print(screen.picture(out.width))


async def _live(client: AsyncClient, screen: "Screen", interval_s: float) -> None:
    """Show until interrupted; a server that goes away is waited for."""
    from rich.live import Live

    from headrace.cli.output import console

    out = console()
    out.soft_wrap = False
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen.picture(out.width), refresh=True)
            await asyncio.sleep(interval_s)
            screen.rows = min(ROWS_MAX, max(ROWS_MIN, out.height - LINES_ABOVE))
            try:
                await screen.look(client)
            except (ServerUnreachable, ServerProblem) as error:
                if isinstance(error, ServerProblem) and not error.retryable:
                    raise
                screen.trouble = str(error)


class Screen:
    """What was seen, and the picture of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.trouble = ""
        """Why there is no news; empty when there is."""
        self._stats: Mapping[str, Any] = {}
        self._queues: Sequence[Any] = ()
        self._workers: Sequence[Mapping[str, Any]] | None = None
        """None: this caller may not see them."""
        self._jobs: Sequence[Any] = ()
        self._seen_s = 0.0
        self.rows = ROWS_MIN
        """Of each table."""
        self._rates: dict[str, deque[float]] = {
            counter: deque(maxlen=HISTORY) for _, counter, _ in RATES
        }

    async def look(self, client: AsyncClient) -> None:
        """Raises: ServerUnreachable, ServerProblem."""
        before, before_s = self._stats, self._seen_s
        self._stats = await client.stats()
        self._seen_s = time.monotonic()
        self._queues = await _allowed(client.queues()) or ()
        listed = await _allowed(client.call("GET", f"/api/v1/workers?limit={self.rows}"))
        self._workers = None if listed is None else listed["workers"]
        page = await _allowed(client.list(status=["processing"], limit=self.rows))
        self._jobs = page.jobs if page is not None else ()
        self.trouble = ""
        if before:
            for counter, rates in self._rates.items():
                more = self._stats["jobs"][counter] - before["jobs"][counter]
                # Counters start again with a server that was started again.
                rates.append(max(0, more) / (self._seen_s - before_s))

    def picture(self, width: int) -> "RenderableType":
        from rich.columns import Columns
        from rich.console import Group

        tables = [self._jobs_table(width), self._workers_table()]
        shown = [table for table in tables if table is not None]
        apart = [part for table in shown for part in (table, "")]
        beside = Columns(shown, padding=(0, 4)) if width >= WIDE_CELLS else Group(*apart)
        return Group(
            self._head(width), "", self._rates_table(width), "", self._queue_table(), "", beside
        )

    def _head(self, width: int) -> "RenderableType":
        from rich.table import Table
        from rich.text import Text

        live = self._stats["runtime"]["engine"]["live"]
        wait, run = self._stats["recent"]["wait"], self._stats["recent"]["processing"]
        line = Table.grid(expand=width > 0)
        line.add_column(no_wrap=True)
        line.add_column(justify="right", no_wrap=True)
        line.add_row(Text(f"headrace  {self.url}", style="bold"), time.strftime("%H:%M:%S"))
        if self.trouble:
            line.add_row(Text(self.trouble, style="red", overflow="ellipsis"), "")
        waiting = live["queued"] + live["resuming"]
        line.add_row(
            f"{waiting:,} waiting   {live['locked'] + live['running']:,} running   "
            f"{live['scheduled']:,} scheduled   {live['suspended']:,} suspended",
            "",
        )
        line.add_row(
            Text(
                f"waited p50 {_span(wait['p50'])}  p99 {_span(wait['p99'])}    "
                f"ran p50 {_span(run['p50'])}  p99 {_span(run['p99'])}",
                style="dim",
            ),
            "",
        )
        return line

    def _rates_table(self, width: int) -> "Table":
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right")
        table.add_column(justify="right", min_width=9)
        table.add_column(no_wrap=True)
        cells = max(10, min(HISTORY, width - 30))
        for shown, counter, style in RATES:
            rates = self._rates[counter]
            latest = rates[-1] if rates else 0.0
            table.add_row(
                Text(shown, style="dim"), _rate(latest), Text(spark(rates, cells), style=style)
            )
        return table

    def _queue_table(self) -> "Table":
        from rich.text import Text

        table = _table("queue", "waiting", "running", "capacity", "")
        busy = [
            queue
            for queue in self._queues
            if queue.depth or queue.running or queue.paused or queue.name in QUEUE_ROWS_ALWAYS
        ]
        busy.sort(key=lambda queue: (-queue.depth - queue.running, queue.name))
        for queue in busy[:ROWS_MIN]:
            capacity = "no limit" if queue.capacity is None else f"{queue.capacity:,}"
            full = queue.capacity is not None and queue.running >= queue.capacity
            table.add_row(
                queue.name,
                f"{queue.depth:,}",
                Text(f"{queue.running:,}", style="yellow" if full else ""),
                capacity,
                Text("paused", style="magenta") if queue.paused else "",
            )
        if len(busy) > ROWS_MIN:
            table.add_row(f"{len(busy) - ROWS_MIN} more", "", "", "", "")
        return table

    def _jobs_table(self, width: int) -> "Table | None":
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        if not self._jobs:
            return None
        table = _table("running", "by", "", "")
        wide = width >= WIDE_CELLS
        room = width // 2 if wide else width
        said = [
            len(job.name + (job.locked_by or "") + (job.progress_details or ""))
            for job in self._jobs
        ]
        if max(said) > room - 24:  # cut where it tells least
            table.columns[0].max_width = round(room * 0.35)
            table.columns[1].max_width = round(room * 0.25)
        for job in self._jobs:
            bar = ProgressBar(1.0, job.progress, 12, complete_style="cyan", finished_style="green")
            table.add_row(
                Text(job.name, overflow="ellipsis", no_wrap=True),
                Text(job.locked_by or "", style="dim", overflow="ellipsis", no_wrap=True),
                bar if wide else f"{job.progress:4.0%}",
                Text(
                    (f"{job.progress:4.0%} " if wide else "") + (job.progress_details or ""),
                    overflow="ellipsis",
                    no_wrap=True,
                ),
            )
        return table

    def _workers_table(self) -> "Table | None":
        from rich.text import Text

        if not self._workers:
            return None
        table = _table("worker", "runs", "free of cpu", "free of memory", "")
        for one in self._workers:
            free, total = one["free"] or {}, one["total"]
            table.add_row(
                Text(one["name"], overflow="ellipsis", no_wrap=True),
                f"{one['running']:,}",
                _of(free.get("cpu_cores"), total["cpu_cores"], "{:g}"),
                _of(free.get("memory_mb"), total["memory_mb"], "{:,} MB"),
                "" if one["status"] == "active" else Text(one["status"], style="magenta"),
            )
        return table


async def _allowed(call: Any) -> Any:
    """Return the answer, or None if this caller may not have it, or an older server has no such
    route."""
    try:
        return await call
    except ServerProblem as problem:
        if problem.status in (403, 404):
            return None
        raise


def _table(*titles: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for at, title in enumerate(titles):
        numbers = title in ("waiting", "running", "capacity", "runs") and at > 0
        table.add_column(title, justify="right" if numbers else "left", no_wrap=True)
    return table


def spark(values: Sequence[float], cells: int) -> str:
    """Return the last values as a row of bars, the largest at full height."""
    shown = list(values)[-cells:]
    most = max(shown, default=0.0)
    if most <= 0:
        return BARS[0] * len(shown)
    top = len(BARS) - 1
    return "".join(BARS[min(top, round(value / most * top))] for value in shown)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 or not rate else f"{rate:.1f}/s"


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"


def _of(free: float | None, total: float, form: str) -> str:
    return form.format(total) if free is None else f"{form.format(free)} of {form.format(total)}"
