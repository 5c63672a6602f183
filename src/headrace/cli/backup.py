"""`headrace backup`, `restore` and `inspect`: copies of a store, and a look at one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from headrace.cli.app import EXIT_OK, EXIT_USAGE, fail
from headrace.cli.serve import (
    EXIT_STORE,
    EXIT_STORE_BUSY,
    EXIT_STORE_DAMAGED,
    EXIT_STORE_TOO_NEW,
)

if TYPE_CHECKING:
    from headrace.store.inspecting import Inspection

DIRECTORY: Final = click.Path(file_okay=False, path_type=Path)


@click.command(
    "backup",
    epilog=f"""\b
Examples:
  headrace backup headrace-data /backups/2026-11-28
  headrace inspect /backups/2026-11-28

\b
The server may run: it goes on at full speed, and what it acknowledges before this begins is in the
copy. Run it as the user of the server, on its machine. The copy holds keys' hashes, params and
results: its files are for their owner alone.
Exit codes: 0 made, {EXIT_USAGE} wrong usage, {EXIT_STORE_DAMAGED} the store is damaged,
{EXIT_STORE} it cannot be read, or the copy not be written.""",
)
@click.argument("data", type=DIRECTORY)
@click.argument("to", type=DIRECTORY)
def backup_command(data: Path, to: Path) -> int:
    """Copy the store in DATA to the new directory TO, while its server runs."""
    from headrace.runtime import backups

    with told():
        manifest = backups.backup(data, to)
    click.echo(f"{to}: {manifest.bytes:,} bytes, as of commit {manifest.position}")
    return EXIT_OK


@click.command(
    "restore",
    epilog=f"""\b
Examples:
  headrace restore /backups/2026-11-28 headrace-data
  headrace serve --data headrace-data

\b
The backup is checked to its last row before anything stands in DATA. Attempts that were under way
when it was made are given back: their workers' reports are refused, the jobs run again.
Exit codes: 0 restored, {EXIT_USAGE} wrong usage, no backup, or DATA is not empty,
{EXIT_STORE_DAMAGED} the backup is damaged, {EXIT_STORE_TOO_NEW} a later version made it,
{EXIT_STORE} it cannot be read, or DATA not be written.""",
)
@click.argument("backup", type=DIRECTORY)
@click.argument("data", type=DIRECTORY)
@click.option(
    "--accept-any-filesystem",
    is_flag=True,
    help="Use a filesystem that may lose acknowledged jobs, such as tmpfs or NFS.",
)
def restore_command(backup: Path, data: Path, accept_any_filesystem: bool) -> int:
    """Make a store in DATA, which is empty, of a BACKUP."""
    from headrace.runtime import backups

    with told(), bars() as (on_bytes, on_rows):
        manifest, found, released = backups.restore(
            backup,
            data,
            accept_any_filesystem=accept_any_filesystem,
            on_bytes=on_bytes,
            on_rows=on_rows,
        )
    click.echo(
        f"{data}: {found.jobs_live:,} jobs that wait or run, {found.jobs_finished:,} that have"
        f" ended, as of commit {manifest.position}; {released:,} attempts given back"
    )
    return EXIT_OK


@click.command(
    "inspect",
    epilog=f"""\b
Examples:
  headrace inspect headrace-data
  headrace inspect headrace-data --json | jq .faults

\b
Nothing is changed. A server that runs has its directory for itself: inspect a backup of it.
Exit codes: 0 all is well, {EXIT_USAGE} wrong usage, {EXIT_STORE_DAMAGED} something is damaged,
{EXIT_STORE_BUSY} a server has it, {EXIT_STORE_TOO_NEW} a later version made it,
{EXIT_STORE} it cannot be read.""",
)
@click.argument("data", type=DIRECTORY)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def inspect_command(data: Path, as_json: bool) -> int:
    """Look at every page and row of the store, or the backup, in DATA."""
    from headrace.store.inspecting import inspect

    with told(), bars() as (_, on_rows):
        found = inspect(data, on_rows)
    if as_json:
        from headrace.cli.output import print_struct

        print_struct(found)
    else:
        _print(found)
    return EXIT_STORE_DAMAGED if found.faults_total else EXIT_OK


def _print(found: "Inspection") -> None:
    click.echo(f"format {found.format}, epoch {found.epoch}, last commit {found.position}")
    click.echo(
        f"{found.jobs_live:,} jobs that wait or run, {found.jobs_finished:,} that have ended;"
        f" {sum(found.rows.values()):,} rows in {found.bytes:,} bytes"
    )
    for fault in found.faults:
        click.echo(f"fault: {fault}")
    more = found.faults_total - len(found.faults)
    if more:
        click.echo(f"and {more:,} more")
    click.echo(f"{found.faults_total:,} faults" if found.faults_total else "no faults")


@contextmanager
def told() -> Iterator[None]:
    """End the command for what goes wrong with a store."""
    from headrace.runtime.backups import BackupError
    from headrace.store.contract import StoreBusy, StoreDamaged, StoreError, StoreTooNew

    try:
        yield
    except BackupError as error:
        fail(str(error), EXIT_USAGE)
    except StoreBusy as error:
        fail(f"{error}; inspect a backup of it", EXIT_STORE_BUSY)
    except StoreDamaged as error:
        fail(str(error), EXIT_STORE_DAMAGED)
    except StoreTooNew as error:
        fail(str(error), EXIT_STORE_TOO_NEW)
    except (StoreError, OSError) as error:
        _unusable(error)


def _unusable(error: Exception) -> NoReturn:
    fail(str(error), EXIT_STORE)


@contextmanager
def bars() -> Iterator[tuple[Any, Any]]:
    """Yield two functions that show how far copying and looking are; on a terminal."""
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from headrace.cli.output import bar_column, console

    out = console(stderr=True)
    with Progress(
        TextColumn("{task.description:8}"),
        bar_column(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    ) as shown:

        def show(words: str) -> Any:
            task = shown.add_task(words, total=1, visible=False)

            def hear(done: int, of: int) -> None:
                shown.update(task, completed=done, total=max(1, of), visible=True)

            return hear

        yield show("copied"), show("checked")
