"""`headrace workers` and `headrace demand`: who does the work, and how much more there is."""

import asyncio
from typing import Any, Final

import click

from headrace.cli.app import EXIT_OK
from headrace.cli.jobs import with_client
from headrace.cli.options import server_of, server_options
from headrace.sdk.client import AsyncClient
from headrace.wire.operator_routes import ClassDemandView, WorkerView

WAIT_LOOK_S: Final = 0.5
"""Between two looks whether a worker is drained."""
_json: Final = click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
_tenant: Final = click.option(
    "--tenant", help="Of its key, where several tenants have a worker of that name."
)


@click.group(
    "workers",
    invoke_without_command=True,
    epilog="""\b
Examples:
  headrace workers                        those heard of lately
  headrace workers show w1                with the jobs in its hands
  headrace workers drain w1 --wait        before its machine goes: no new jobs, and wait
  headrace workers undrain w1
  headrace workers quit w1                drain it, and have its process end""",
)
@_json
@server_options
@click.pass_context
def workers_command(ctx: click.Context, /, as_json: bool, **server: Any) -> int:
    """Show workers; drain them, end them."""
    from headrace.cli.output import print_struct

    ctx.obj = server
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    found = with_client(server, AsyncClient.workers)
    if as_json:
        print_struct(found)
    elif found:
        _print_workers(*found)
    else:
        click.echo("No worker was heard of lately. `headrace work` is one.", err=True)
    return EXIT_OK


@workers_command.command("show")
@click.argument("name")
@_tenant
@_json
@server_options
@click.pass_context
def worker_show(
    ctx: click.Context, /, name: str, tenant: str | None, as_json: bool, **options: Any
) -> int:
    """Show a worker and the jobs in its hands."""
    from headrace.cli.output import age_of, print_struct, print_table

    found = with_client(server_of(ctx, options), lambda client: client.worker(name, tenant=tenant))
    if as_json:
        print_struct(found)
        return EXIT_OK
    _print_workers(found)
    if found.leases:
        click.echo()
        print_table(
            ("job", "try", "done", "details", "runs for"),
            [
                (
                    lease.job_id,
                    str(lease.attempt),
                    f"{lease.progress:.0%}",
                    lease.progress_details or "",
                    age_of(lease.started_at),
                )
                for lease in found.leases
            ],
            right=("try", "done", "runs for"),
            cut=("details",),
        )
    return EXIT_OK


@workers_command.command("drain")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_tenant
@click.option("--wait", is_flag=True, help="Until they hold no job.")
@_json
@server_options
@click.pass_context
def worker_drain(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    tenant: str | None,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Give workers no more jobs; what runs goes on."""

    async def drain(client: AsyncClient) -> list[WorkerView]:
        told = [await client.drain_worker(name, tenant=tenant) for name in names]
        while wait and any(one.running for one in told):
            await asyncio.sleep(WAIT_LOOK_S)
            told = [await client.worker(name, tenant=tenant) for name in names]
        return told

    return _show(with_client(server_of(ctx, options), drain), as_json)


@workers_command.command("undrain")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_tenant
@_json
@server_options
@click.pass_context
def worker_undrain(
    ctx: click.Context, /, names: tuple[str, ...], tenant: str | None, as_json: bool, **options: Any
) -> int:
    """Give workers jobs again."""

    async def undrain(client: AsyncClient) -> list[WorkerView]:
        return [await client.undrain_worker(name, tenant=tenant) for name in names]

    return _show(with_client(server_of(ctx, options), undrain), as_json)


@workers_command.command("quit")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_tenant
@_json
@server_options
@click.pass_context
def worker_quit(
    ctx: click.Context, /, names: tuple[str, ...], tenant: str | None, as_json: bool, **options: Any
) -> int:
    """Give workers no more jobs, and have their processes end."""

    async def end(client: AsyncClient) -> list[WorkerView]:
        return [await client.quit_worker(name, tenant=tenant) for name in names]

    return _show(with_client(server_of(ctx, options), end), as_json)


def _show(found: list[WorkerView], as_json: bool) -> int:
    from headrace.cli.output import print_struct

    if as_json:
        print_struct(found)
    else:
        _print_workers(*found)
    return EXIT_OK


def _print_workers(*found: WorkerView) -> None:
    from headrace.cli.output import age_of, print_table

    def of(one: WorkerView) -> tuple[str, ...]:
        free, total = one.free, one.total
        return (
            one.name,
            one.tenant_id or "",
            one.status,
            one.order or "",
            str(one.running),
            "" if free is None or total is None else f"{free.cpu_cores:g}/{total.cpu_cores:g}",
            "" if free is None or total is None else f"{free.memory_mb:,}/{total.memory_mb:,}",
            _gpus(one),
            _served(one),
            age_of(one.last_seen_at),
        )

    titles = ("worker", "tenant", "status", "told", "jobs", "cores", "MB", "GPUs", "takes", "seen")
    print_table(
        titles,
        [of(one) for one in found],
        right=("jobs", "cores", "MB", "GPUs", "seen"),
        cut=("worker", "tenant", "takes"),
        drop=("takes", "GPUs", "MB"),
    )


def _gpus(one: WorkerView) -> str:
    if one.free is None or one.total is None or not one.total.gpu_count:
        return ""
    return f"{one.free.gpu_count:g}/{one.total.gpu_count:g} {one.total.gpu_type or ''}".rstrip()


def _served(one: WorkerView) -> str:
    """Return the types that a worker takes, and its queues if not all."""
    if one.serve is None:
        return ""
    types = "all types" if one.serve.types in (None, ["*"]) else ", ".join(one.serve.types or ())
    parts = [part for part in (types, "wasm" if one.serve.wasm else "") if part]
    queues = "" if one.serve.queues is None else f" of {', '.join(one.serve.queues)}"
    return ", ".join(parts) + queues


@click.command(
    "demand",
    epilog="""\b
Examples:
  headrace demand                         what waits for workers, by what it needs
  headrace demand --queue gpu --json | jq .value        a number for an autoscaler

\b
fit: busy, a known worker fits and is full; never, none of the known fits; unknown, no worker is
known; held_back, more workers would not help: a pause, a capacity or a limit holds them.""",
)
@click.option("--queue", help="Of this queue only.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
@_json
@server_options
def demand_command(queue: str | None, limit: int, as_json: bool, **server: Any) -> int:
    """Say how many more jobs would run with more workers, and what they need."""
    from headrace.cli.output import print_struct, print_table

    found = with_client(server, lambda client: client.demand(queue=queue, limit=limit))
    if as_json:
        print_struct(found)
        return EXIT_OK
    click.echo(f"{found.value:,} more jobs would run if there were workers for them")
    if found.classes:
        click.echo()
        titles = ("queue", "type", "tenant", "ready", "fit", "waits", "each needs")
        rows = [_class_row(one) for one in found.classes]
        print_table(titles, rows, right=("ready", "waits"), cut=("queue", "type", "each needs"))
    more = found.classes_count - len(found.classes)
    if more > 0 or found.truncated:
        click.echo(f"There are {more:,} more kinds of jobs: --limit", err=True)
    return EXIT_OK


def _class_row(one: ClassDemandView) -> tuple[str, ...]:
    from headrace.cli.output import amounts_text, span_text

    needs = [text for text in (amounts_text(one),) if text]
    needs += ["/".join(one.gpu_type)] if one.gpu_type else []
    needs += [f"{name}={value}" for name, value in one.labels.items()]
    return (
        one.queue,
        one.type,
        one.tenant_id or "",
        f"{one.ready:,}",
        one.fit,
        span_text(float(one.first_wait)),
        ", ".join(needs),
    )
