"""`headrace queues` and `headrace types`: what operators set, and how it stands."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import click
import msgspec

from headrace.cli.app import EXIT_OK
from headrace.cli.jobs import with_client
from headrace.cli.options import server_options
from headrace.sdk.client import AsyncClient
from headrace.wire.document_routes import QueueView, TypeView

NO_LIMIT: Final = "none"


@click.group(
    "queues",
    invoke_without_command=True,
    epilog="""\b
Examples:
  headrace queues                              all of them
  headrace queues set mail --capacity 20       twenty at once
  headrace queues set mail --capacity none     no limit
  headrace queues pause mail                   what runs goes on
  headrace queues resume mail""",
)
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
@click.pass_context
def queues_command(ctx: click.Context, /, as_json: bool, **server: Any) -> int:
    """Show queues: what waits and runs, and how much may. Pause and resume them."""
    ctx.obj = server
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    queues = with_client(server, AsyncClient.queues)
    if as_json:
        _print_json(queues)
    else:
        _print_queues(queues)
    return EXIT_OK


@queues_command.command("pause")
@click.argument("name")
@click.pass_obj
def queue_pause(server: dict[str, Any], name: str) -> int:
    """Give nothing of a queue out; what runs goes on."""
    return _change(server, lambda client: client.pause_queue(name))


@queues_command.command("resume")
@click.argument("name")
@click.pass_obj
def queue_resume(server: dict[str, Any], name: str) -> int:
    """Let a paused queue go on."""
    return _change(server, lambda client: client.resume_queue(name))


@queues_command.command("set")
@click.argument("name")
@click.option("--capacity", required=True, metavar="N|none", help="Jobs that run at once.")
@click.option("--description", default="", help="For people.")
@click.pass_obj
def queue_set(server: dict[str, Any], name: str, capacity: str, description: str) -> int:
    """Set how many jobs of a queue run at once. A pause of it ends."""
    if capacity != NO_LIMIT and not (capacity.isascii() and capacity.isdigit()):
        raise click.UsageError(f"--capacity is a number or {NO_LIMIT}, not {capacity!r}")
    most = None if capacity == NO_LIMIT else int(capacity)
    return _change(
        server, lambda client: client.set_queue(name, capacity=most, description=description)
    )


def _change(server: dict[str, Any], change: Callable[[AsyncClient], Awaitable[QueueView]]) -> int:
    _print_queues([with_client(server, change)])
    return EXIT_OK


@click.command("types", epilog="Types that nobody has registered work as well, and are not listed.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
def types_command(as_json: bool, **server: Any) -> int:
    """List the registered job types, with what their jobs get where they say nothing."""
    types = with_client(server, AsyncClient.job_types)
    if as_json:
        _print_json(types)
    elif types:
        _print_types(types)
    else:
        click.echo("No job types are registered.", err=True)
    return EXIT_OK


def _print_json(value: Any) -> None:
    from headrace.cli.output import print_json

    print_json(msgspec.json.encode(value))


def _print_queues(queues: Any) -> None:
    _print_table(
        ("queue", "waiting", "running", "capacity", "", "description"),
        [
            (
                queue.name,
                f"{queue.depth:,}",
                f"{queue.running:,}",
                "no limit" if queue.capacity is None else f"{queue.capacity:,}",
                "paused" if queue.paused else "",
                queue.description,
            )
            for queue in queues
        ],
        right=(1, 2, 3),
    )


def _print_types(types: Any) -> None:
    def of(one: TypeView) -> tuple[str, ...]:
        return (
            one.id,
            one.group or "",
            one.queue,
            "" if one.timeout is None else f"{one.timeout:g} s",
            "" if one.max_retries is None else str(one.max_retries),
            "checked" if one.params_schema is not None else "",
            one.description,
        )

    titles = ("type", "group", "queue", "timeout", "retries", "params", "description")
    _print_table(titles, [of(one) for one in types], right=(3, 4))


def _print_table(
    titles: tuple[str, ...], rows: list[tuple[str, ...]], right: tuple[int, ...]
) -> None:
    """Print what fits; a column that is empty everywhere is left out."""
    from rich.table import Table
    from rich.text import Text

    from headrace.cli.output import LIST_CELLS_PIPE, STATUS_STYLES, console

    out = console()
    if not out.is_terminal:
        out.width = LIST_CELLS_PIPE
    shown = [at for at in range(len(titles)) if any(row[at] for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for at in shown:
        table.add_column(titles[at], no_wrap=True, justify="right" if at in right else "left")
    for row in rows:
        cells = (row[at] for at in shown)
        table.add_row(
            *(
                Text(cell, style=STATUS_STYLES["suspended"] if cell == "paused" else "")
                for cell in cells
            )
        )
    out.print(table)
