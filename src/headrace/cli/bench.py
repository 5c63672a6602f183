"""`headrace bench`: what a server does on this machine and this disk, measured here and now."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from headrace.cli.app import EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, fail
from headrace.cli.options import words

if TYPE_CHECKING:
    from headrace.bench.measures import Figures

DEFAULT: Final = ("W1", "W2", "W3", "W4", "W5")
SECONDS_DEFAULT: Final = 2.0
SECONDS_MAX: Final = 600.0
PREFIX: Final = "headrace-bench-"
SYNCED: Final = "fsync before each answer"
BUSY_CLIENT: Final = 0.9
"""Above this share of a core the load generator may be what was measured."""
BUSY_MACHINE: Final = 0.5
"""Of its processors; with more other programs took part in every figure."""


@click.command(
    "bench",
    epilog="""\b
Examples:
  headrace bench                        under a minute, on the disk of temporary files
  headrace bench --data /var/lib        on the disk that will hold the jobs
  headrace bench --only W2,W3 --seconds 10 --json

\b
W1 submits one job a request, W2 in batches of 100, W2k of 1,000. W3 takes and completes jobs that
wait, W4 does both at once. W5 sends one job at a time through an idle server. Jobs are no work and
200 bytes of params; server and client have a core each. Latencies are those of requests, as the
client sees them.""",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Directory whose disk is measured. A directory made below it is used, and removed.",
)
@click.option("--only", metavar="W1,W2…", help=f"What to measure.  [{','.join(DEFAULT)}]")
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, SECONDS_MAX),
    default=SECONDS_DEFAULT,
    show_default=True,
    help="About how long each takes; a slow disk takes longer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--accept-any-filesystem",
    is_flag=True,
    help="Measure also where acknowledged jobs could be lost, such as tmpfs.",
)
def bench_command(
    data: Path | None, only: str | None, seconds: float, as_json: bool, accept_any_filesystem: bool
) -> int:
    """Measure a server of its own on this machine.

    It starts a server on an empty directory, drives it, and leaves nothing behind. No server that
    runs is touched.
    """
    from headrace.bench.process import BenchError, ended_by_signals
    from headrace.bench.workloads import ROWS

    wanted = words(only) or list(DEFAULT)
    if unknown := [row for row in wanted if row not in ROWS]:
        raise click.UsageError(f"--only {','.join(unknown)}: there are {', '.join(ROWS)}")
    base = _base(data, accept_any_filesystem)
    try:
        with ended_by_signals(), _scratch(base) as dir_:
            flags = ["--accept-any-filesystem"] if accept_any_filesystem else []
            report = _measure(dir_, wanted, seconds, flags)
    except BenchError as error:
        fail(f"nothing was measured: {error}", EXIT_PROBLEM)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report)
    return EXIT_OK


def _base(data: Path | None, accept_any_filesystem: bool) -> Path:
    """Return the directory to work below: the first whose disk keeps what it acknowledges."""
    from headrace.store.lmdb import DATA_FILE, UNSUITABLE, filesystem_of

    if data is not None and (data / DATA_FILE).exists():
        fail(f"{data} holds a server's jobs; name the directory above it", EXIT_USAGE)
    choices = [data] if data is not None else [Path(tempfile.gettempdir()), Path.cwd()]
    found = [(base, filesystem_of(base.resolve())) for base in choices]
    usable = [base for base, on in found if accept_any_filesystem or not UNSUITABLE.fullmatch(on)]
    if not usable:
        said = " and ".join(f"{base} is on {filesystem}" for base, filesystem in found)
        fail(
            f"{said}, where a sync promises nothing.\nName a directory on a local disk with"
            " --data, or add --accept-any-filesystem.",
            EXIT_USAGE,
        )
    return usable[0]


@contextmanager
def _scratch(base: Path) -> Iterator[Path]:
    try:
        made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=base)
    except OSError as error:
        fail(f"cannot make a directory in {base}: {error.strerror}", EXIT_USAGE)
    with made as dir_:
        yield Path(dir_)


def _measure(dir_: Path, wanted: list[str], seconds: float, flags: list[str]) -> dict[str, Any]:
    from headrace import __version__
    from headrace.bench.measures import machine
    from headrace.bench.process import cores, pin_client
    from headrace.bench.workloads import ROWS, Headrace
    from headrace.store.lmdb import UNSUITABLE

    pair = cores()
    about = machine(dir_)
    _say_machine(about, dir_.parent, pair is not None)
    pin_client()
    lossy = UNSUITABLE.fullmatch(about["filesystem"]) is not None
    rows: dict[str, Figures] = {}
    for name in wanted:
        row = ROWS[name]
        click.echo(f"{name:<4}{row.what} … ", nl=False, err=True)
        system = Headrace(dir_ / name, *flags, core=pair and pair[0])
        try:
            figures = row.run(system.ready(), seconds)
        except BaseException:
            click.echo(err=True)
            raise
        finally:
            system.server.kill()
        rows[name] = {"title": row.title, "what": row.what, "unit": row.unit, **figures}
        click.echo(f"{_figure(rows[name])} {row.unit}", err=True)
    return {
        "headrace": __version__,
        "machine": about,
        "durability": f"none: {about['filesystem']}" if lossy else SYNCED,
        "one_core": pair is None,
        "rows": rows,
    }


def _say_machine(about: "Figures", base: Path, has_two: bool) -> None:
    click.echo(
        f"{about['cores']} processors of {about['cpu']}, {about['filesystem']} at {base}", err=True
    )
    if not has_two:
        click.echo("Server and client share one processor: all is slower for it.", err=True)
    elif about["load_before"] > BUSY_MACHINE * about["cores"]:
        click.echo(
            f"Other programs are busy (load {about['load_before']}): figures will be low.", err=True
        )


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    from headrace.cli.output import console

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "jobs/s", "p50 ms", "p99 ms", "server CPU", "client CPU"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for name, row in report["rows"].items():
        cpu = (f"{row['server_cpu']:.0%}", f"{row['client_cpu']:.0%}")
        if row["unit"] == "ms":
            for what, p50, p99 in (
                ("to its worker", row["value"], row["start_p99_ms"]),
                ("to its result", row["result_p50_ms"], row["result_p99_ms"]),
            ):
                title = f"{name} {row['title']} {what}"
                table.add_row(title, "", f"{p50:.2f}", f"{p99:.2f}", *cpu)
        else:
            latency = (f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}")
            table.add_row(f"{name} {row['title']}", _figure(row), *latency, *cpu)
    console().print(table)
    click.echo(f"Durability: {report['durability']}. CPU: shares of one core.")
    busy = [name for name, row in report["rows"].items() if row["client_cpu"] > BUSY_CLIENT]
    if busy and not report["one_core"]:
        click.echo(f"In {', '.join(busy)} the client was busy: the server can do more.")


def _figure(row: "Figures") -> str:
    return f"{row['value']:.2f}" if row["unit"] == "ms" else f"{row['value']:,.0f}"
