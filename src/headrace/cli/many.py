"""`headrace submit` of many jobs: the lines of a file or of standard input, the modules of a
directory.

Jobs go in batches, each durable or refused as a whole. Every job has an idempotency key, so a batch
whose answer was lost is sent again without making any job twice.
"""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click
import msgspec

from headrace.cli.app import EXIT_JOB_FAILED, EXIT_OK, EXIT_PROBLEM
from headrace.sdk.client import AsyncClient
from headrace.sdk.errors import SdkError, ServerProblem
from headrace.wire import limits

if TYPE_CHECKING:
    from rich.progress import Progress

STREAM_SUFFIXES: Final = (".ndjson", ".jsonl")
STANDARD_INPUT: Final = "-"
BATCH_JOBS: Final = 500
BATCH_BYTES: Final = 4 * limits.MIB
LINE_BYTES_MAX: Final = limits.SPEC_BYTES_MAX
IDS_SHOWN_MAX: Final = 20
"""On a terminal; a pipe or a file gets all."""
LOOKS_AT_ONCE: Final = 16
"""Jobs whose ends are waited for at the same time."""
WRONG_SHOWN_MAX: Final = 20


class Line(msgspec.Struct):
    """One job of a stream."""

    number: int
    job: dict[str, Any]
    size: int
    """Bytes."""


class Wrong(msgspec.Struct):
    number: int
    reason: str


class Tally:
    """What became of the lines."""

    def __init__(self) -> None:
        self.job_ids: list[str] = []
        self.wrong: list[Wrong] = []
        self._seen = sys.stdout.isatty()
        self._begun_s = time.monotonic()

    def take(self, job_id: str) -> None:
        """Note a job that is durable. Somebody who looks would see ids pass, and no progress."""
        self.job_ids.append(job_id)
        if not self._seen:
            click.echo(job_id)

    def tell(self, *, stopped: bool) -> None:
        if self._seen and len(self.job_ids) <= IDS_SHOWN_MAX:
            click.echo("\n".join(self.job_ids))
        jobs, taken_s = len(self.job_ids), time.monotonic() - self._begun_s
        rate = f" in {taken_s:.1f} s, {jobs / taken_s:,.0f}/s" if jobs > IDS_SHOWN_MAX else ""
        click.echo(
            f"headrace: {jobs:,} jobs submitted{rate}; {len(self.wrong):,} refused"
            + ("; stopped there, --skip-wrong goes on" if stopped else ""),
            err=True,
        )

    def refuse(self, number: int, reason: str) -> None:
        self.wrong.append(Wrong(number, reason))
        if len(self.wrong) <= WRONG_SHOWN_MAX:
            click.echo(f"headrace: line {number}: {reason}", err=True)


def is_many(target: str) -> bool:
    """Say whether a target of `submit` stands for several jobs. A bare word is a type, also where a
    directory has its name."""
    return target == STANDARD_INPUT or target.endswith(STREAM_SUFFIXES) or is_directory(target)


def is_directory(target: str) -> bool:
    return os.sep in target and Path(target).is_dir()


async def submit_many(
    client: AsyncClient, target: str, fields: dict[str, Any], *, skip: bool, wait: bool
) -> int:
    """Submit all jobs of a target; return the exit code.

    fields: for jobs that do not say them.
    skip: leave out lines that are wrong, and go on.
    """
    if is_directory(target):
        return await _submit_directory(client, Path(target), fields, wait=wait)
    tally = Tally()
    size = None if target == STANDARD_INPUT else _size(target)
    with _opened(target) as stream, count_bars(known=size is not None) as bars:
        bar = bars.add_task("submitted", total=size, jobs=0)
        run = secrets.token_hex(8)
        for batch in _batches(_lines(stream, tally, skip=skip), fields, run):
            if batch:
                await _send(client, batch, tally, skip=skip)
            bars.update(bar, advance=sum(line.size for line in batch), jobs=len(tally.job_ids))
            if tally.wrong and not skip:
                break
    return await _end(client, tally, wait=wait, skip=skip)


async def _submit_directory(
    client: AsyncClient, directory: Path, fields: dict[str, Any], *, wait: bool
) -> int:
    """Submit each module of a directory, in the order of their names."""
    files = sorted(directory.glob("*.wasm"))
    if not files:
        raise click.UsageError(f"there is no *.wasm in {directory}")
    tally = Tally()
    with count_bars() as bars:
        bar = bars.add_task("submitted", total=len(files), jobs=0)
        for number, path in enumerate(files, 1):
            try:
                submitted = await client.submit_wasm(path, **{**fields, "name": path.stem})
            except ServerProblem as problem:
                tally.refuse(number, f"{path.name}: {problem.detail}")
            else:
                tally.take(submitted.job_id)
            bars.update(bar, advance=1, jobs=len(tally.job_ids))
    return await _end(client, tally, wait=wait, skip=True)


async def _end(client: AsyncClient, tally: Tally, *, wait: bool, skip: bool) -> int:
    more = len(tally.wrong) - WRONG_SHOWN_MAX
    if more > 0:
        click.echo(f"headrace: {more} more lines are wrong", err=True)
    tally.tell(stopped=bool(tally.wrong) and not skip)
    if wait and await _wait_all(client, tally.job_ids):
        return EXIT_JOB_FAILED
    return EXIT_PROBLEM if tally.wrong else EXIT_OK


# Lines ------------------------------------------------------------------------------------------


def _size(target: str) -> int | None:
    try:
        return Path(target).stat().st_size or None
    except OSError:
        return None


def _opened(target: str) -> Any:
    if target == STANDARD_INPUT:
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(target).open("rb")
    except OSError as error:
        raise click.UsageError(f"cannot read {target}: {error.strerror or error}") from None


def _lines(stream: IO[bytes], tally: Tally, *, skip: bool) -> Iterator[Line]:
    """Yield the jobs of a stream; blank lines are nothing."""
    number = 0
    while line := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            tally.refuse(number, f"a job has at most {LINE_BYTES_MAX} bytes")
            return  # where the next line begins is not known
        if not line.strip():
            continue
        try:
            job = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            tally.refuse(number, f"it is not a JSON object: {error}")
            if not skip:
                return
            continue
        yield Line(number, job, len(line))


def _batches(lines: Iterator[Line], fields: dict[str, Any], run: str) -> Iterator[list[Line]]:
    """Yield jobs by the batch, with what they do not say themselves, and a key each."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == BATCH_JOBS or size + line.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        line.job = {**fields, **line.job}
        line.job.setdefault("idempotency_key", f"{run}-{line.number}")
        batch.append(line)
        size += line.size
    yield batch


async def _send(client: AsyncClient, batch: Sequence[Line], tally: Tally, *, skip: bool) -> None:
    """Submit a batch. With `skip`, without the jobs that the server names as wrong."""
    while batch:
        try:
            submitted = await client.submit_many([line.job for line in batch])
        except ServerProblem as problem:
            wrong = _wrong_of(problem, len(batch))
            if not wrong:
                raise
            for position, reason in wrong.items():
                tally.refuse(batch[position].number, reason)
            if not skip:
                return
            batch = [line for at, line in enumerate(batch) if at not in wrong]
            continue
        for one in submitted:
            tally.take(one.job_id)
        return


def _wrong_of(problem: ServerProblem, jobs: int) -> dict[int, str]:
    """Return by position why jobs of a batch are refused; empty if it is not about single jobs."""
    found: dict[int, str] = {}
    problems = problem.members.get("problems")
    rows = problems if isinstance(problems, list) else [problem.members]
    for row in rows:
        pointer = str(row.get("pointer") or "")
        place, _, field = pointer.removeprefix("/").partition("/")
        if jobs == 1 and not place.isdigit():
            place, field = "0", pointer.removeprefix("/")
        if place.isdigit() and int(place) < jobs:
            where = f"{field}: " if field else ""
            found[int(place)] = f"{where}{row.get('detail') or problem.detail}"
    return found


# Ends -------------------------------------------------------------------------------------------


async def _wait_all(client: AsyncClient, job_ids: Sequence[str]) -> int:
    """Wait for the ends of jobs; return how many did not complete."""
    ends: dict[str, int] = {}
    waiting = iter(job_ids)

    async def look(bars: "Progress", bar: Any) -> None:
        for job_id in waiting:
            job = await client.wait(job_id)
            ends[job.status] = ends.get(job.status, 0) + 1
            bars.update(bar, advance=1, jobs=ends.get("completed", 0))
            if not job.completed:
                click.echo(f"headrace: job {job_id} ended as {job.status}: {job.error}", err=True)

    with count_bars() as bars:
        bar = bars.add_task("completed", total=len(job_ids) or None, jobs=0)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(LOOKS_AT_ONCE):
                    tasks.create_task(look(bars, bar))
        except ExceptionGroup as group:
            first = group.exceptions[0]
            if isinstance(first, SdkError):
                raise first from None
            raise
    said = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
    click.echo(f"headrace: {said or 'no jobs'}", err=True)
    return len(job_ids) - ends.get("completed", 0)


def count_bars(*, known: bool = True) -> "Progress":
    """Return a line of progress on standard error; nothing where that is no terminal.

    known: how much there is.
    """
    from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from headrace.cli.output import bar_column, console

    out = console(stderr=True)
    share, left = TextColumn("{task.percentage:>3.0f}%"), TextColumn("left", style="dim")
    return Progress(
        bar_column(),
        *([share] if known else []),
        TextColumn("{task.fields[jobs]:,} {task.description}"),
        TimeElapsedColumn(),
        *([TimeRemainingColumn(), left] if known else []),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    )
