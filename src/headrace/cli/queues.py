"""`headrace queues` and `headrace types`: what operators set, and how it stands."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import click

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
  headrace queues set mail --capacity 20 --backlog-max 1000
  headrace queues pause mail                   what runs goes on
  headrace queues resume mail""",
)
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
@click.pass_context
def queues_command(ctx: click.Context, /, as_json: bool, **server: Any) -> int:
    """Show queues: what waits and runs, and how much may. Pause and resume them."""
    ctx.obj = {**server, "as_json": as_json}
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    from headrace.cli.output import print_struct

    queues = with_client(server, AsyncClient.queues)
    if as_json:
        print_struct(queues)
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
@click.option(
    "--backlog-max", type=click.IntRange(0), metavar="N", help="Jobs that may wait. [no limit]"
)
@click.option("--description", default="", help="For people.")
@click.pass_obj
def queue_set(
    server: dict[str, Any], name: str, capacity: str, backlog_max: int | None, description: str
) -> int:
    """Set how many jobs of a queue run at once. A pause of it ends."""
    if capacity != NO_LIMIT and not (capacity.isascii() and capacity.isdigit()):
        raise click.UsageError(f"--capacity is a number or {NO_LIMIT}, not {capacity!r}")
    most = None if capacity == NO_LIMIT else int(capacity)
    return _change(
        server,
        lambda client: client.set_queue(
            name, capacity=most, backlog_max=backlog_max, description=description
        ),
    )


def _change(server: dict[str, Any], change: Callable[[AsyncClient], Awaitable[QueueView]]) -> int:
    from headrace.cli.output import print_struct

    queue = with_client(server, change)
    if server["as_json"]:
        print_struct(queue)
    else:
        _print_queues([queue])
    return EXIT_OK


@click.command("types", epilog="Types that nobody has registered work as well, and are not listed.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
def types_command(as_json: bool, **server: Any) -> int:
    """List the registered job types, with what their jobs get where they say nothing."""
    from headrace.cli.output import print_struct

    types = with_client(server, AsyncClient.job_types)
    if as_json:
        print_struct(types)
    elif types:
        _print_types(types)
    else:
        click.echo("No job types are registered.", err=True)
    return EXIT_OK


def _print_queues(queues: Sequence[QueueView]) -> None:
    from headrace.cli.output import print_table

    print_table(
        ("queue", "waiting", "running", "capacity", "may wait", "", "description"),
        [
            (
                queue.name,
                f"{queue.depth:,}",
                f"{queue.running:,}",
                "no limit" if queue.capacity is None else f"{queue.capacity:,}",
                "" if queue.backlog_max is None else f"{queue.backlog_max:,}",
                "paused" if queue.paused else "",
                queue.description,
            )
            for queue in queues
        ],
        right=("waiting", "running", "capacity", "may wait"),
        cut=("queue", "description"),
        drop=("description",),
    )


def _print_types(types: Sequence[TypeView]) -> None:
    from headrace.cli.output import print_table

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
    print_table(
        titles,
        [of(one) for one in types],
        right=("timeout", "retries"),
        cut=("type", "group", "queue", "description"),
        drop=("description",),
    )
