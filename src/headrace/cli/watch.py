"""`headrace watch`: a job's status, progress and log, as they come."""

import asyncio
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from headrace.cli.app import EXIT_JOB_FAILED, EXIT_OK
from headrace.cli.jobs import with_client
from headrace.cli.options import DURATION, server_options
from headrace.sdk.client import AsyncClient, Event

if TYPE_CHECKING:
    pass

STATUS_CHARS: Final = 10
LINE_CHARS_MAX: Final = 64 << 10
"""Of a log that has no end of line for so long, a line is made."""
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What would move the cursor or ring."""


@click.command(
    "watch",
    epilog=f"""\b
Examples:
  headrace watch 019300b1-0000-7000-8000-000000000001
  headrace watch "$(headrace submit render --params @scene.json)"
  headrace watch ID --json | jq -r 'select(.event == "progress") | .progress'

\b
It goes on through a restart of the server. Ctrl-C ends the watching, not the job.
Exit codes: 0 completed, {EXIT_JOB_FAILED} ended otherwise, or --timeout is over.""",
)
@click.argument("job_id")
@click.option("--timeout", type=DURATION, help="Give up watching after this long; the job goes on.")
@click.option("--no-logs", is_flag=True, help="Leave its log out.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@server_options
def watch_command(
    job_id: str, timeout: int | None, no_logs: bool, as_json: bool, **server: Any
) -> int:
    """Follow a job to its end: status, progress and log, as they come."""
    timeout_s = None if timeout is None else timeout / 1000
    shown = _Json() if as_json else Shown()

    async def watch(client: AsyncClient) -> int:
        try:
            async with asyncio.timeout(timeout_s):
                with shown:
                    async for event in client.events(job_id, logs=not no_logs):
                        shown.take(event)
        except TimeoutError:
            click.echo(f"headrace: job {job_id} is still {shown.status}", err=True)
            return EXIT_JOB_FAILED
        if shown.status != "deleted" and not as_json:
            from headrace.cli.output import print_result

            print_result(await client.get(job_id))
        return EXIT_OK if shown.status == "completed" else EXIT_JOB_FAILED

    return with_client(server, watch)


class _Json:
    """Prints events as the server says them, a line each."""

    status = "unknown"

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def take(self, event: Event) -> None:
        import msgspec

        self.status = event.data.get("status") or self.status
        click.echo(msgspec.json.encode({"event": event.name, **event.data}))


class Shown:
    """Prints events for people. On a terminal progress is a bar below the lines."""

    def __init__(self) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from headrace.cli.output import bar_column, console

        self.status = "unknown"
        self._line = ""
        self._started_at = ""
        self._out = console()
        self._bars: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            bar_column(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[details]}"),
            console=self._out,
            transient=True,
            disable=not self._out.is_terminal,
        )
        self._bar = self._bars.add_task("", total=1.0, details="")

    def __enter__(self) -> None:
        self._bars.start()

    def __exit__(self, *_: object) -> None:
        self._end_line()
        self._bars.stop()

    def take(self, event: Event) -> None:
        """Show one event."""
        data = event.data
        at = data.get("at")
        if event.name in ("snapshot", "status"):
            self._end_line()
            self.status = data["status"]
            if event.name == "snapshot":
                self._say(at, self.status, " ".join((data.get("name") or "", data["job_id"])))
            else:
                self._say(at, self.status, _told(data))
            self._update(data)
        elif event.name == "progress":
            self._update(data)
            if not self._out.is_terminal:
                self._end_line()
                share = f"{data.get('progress') or 0:.0%}"
                self._say(at, share, data.get("details") or "")
        elif event.name == "log":
            self._log(data.get("log") or "")
        elif event.name == "deleted":
            self.status = "deleted"
            self._say(at, self.status, "its record is gone")
        else:
            self._end_line()
            self._say(at, event.name, "events may have been missed")

    def _update(self, data: dict[str, Any]) -> None:
        from rich.markup import escape

        self._bars.update(
            self._bar,
            description=self.status,
            completed=data.get("progress") or 0.0,
            details=escape(_plain(data.get("details") or "")),
        )

    def _say(self, at: str | None, word: str, text: str) -> None:
        from rich.text import Text

        from headrace.cli.output import STATUS_STYLES

        moment = datetime.fromisoformat(at).astimezone() if at else datetime.now().astimezone()
        line = Text.assemble(
            (f"{moment:%H:%M:%S} ", "dim"),
            (word.ljust(STATUS_CHARS), STATUS_STYLES.get(word, "")),
            f" {_plain(text)}",
        )
        line.rstrip()
        self._out.print(line)

    def _log(self, text: str) -> None:
        """Print whole lines of the log; the last one waits for its end."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._print(line)
        if len(self._line) > LINE_CHARS_MAX:
            self._end_line()

    def _end_line(self) -> None:
        if self._line:
            self._print(self._line)
            self._line = ""

    def _print(self, line: str) -> None:
        from rich.text import Text

        self._out.print(Text.assemble(("         | ", "dim"), _plain(line)))


def _told(data: dict[str, Any]) -> str:
    """Return what there is to say of a change beside the status."""
    if data.get("error") and not data.get("final"):  # the end is told with the result
        code = f" [{data['code']}]" if data.get("code") else ""
        return f"{data['error']}{code}"
    if data["status"] in ("locked", "running") and data.get("worker"):
        return f"attempt {data.get('attempt')} on {data['worker']}"
    return ""


def _plain(text: str) -> str:
    return _CONTROLS.sub("�", text)
