"""`headrace limits` and `headrace tenants`: how much may run, and who gets how much of it."""

from typing import Any, Final

import click

from headrace.cli.app import EXIT_OK
from headrace.cli.jobs import with_client
from headrace.cli.options import DURATION, SIZE, server_of, server_options
from headrace.sdk.client import AsyncClient
from headrace.wire.document_routes import LimitView, TenantView
from headrace.wire.durations import seconds
from headrace.wire.limits import TENANT_WEIGHT_DEFAULT, TENANT_WEIGHT_MAX

_json: Final = click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
_number: Final = click.IntRange(0)


@click.group(
    "limits",
    invoke_without_command=True,
    epilog="""\b
Examples:
  headrace limits                                            all of them, and what is used
  headrace limits set mail --type send-mail --starts 100 --per 1m
  headrace limits set licences --tag solver --concurrency 4
  headrace limits remove mail

\b
A limit of a type or a tenant counts all its jobs; one of a tag those submitted
since it is there.""",
)
@_json
@server_options
@click.pass_context
def limits_command(ctx: click.Context, /, as_json: bool, **server: Any) -> int:
    """Limit how many jobs of a type, a tenant or a tag run at once, or start within a time."""
    from headrace.cli.output import print_struct

    ctx.obj = server
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    found = with_client(server, AsyncClient.limits)
    if as_json:
        print_struct(found)
    elif found:
        _print_limits(*found)
    else:
        click.echo("No limits. `headrace limits set --help` shows how to make one.", err=True)
    return EXIT_OK


@limits_command.command("set")
@click.argument("name")
@click.option("--type", help="Of jobs of this type; wasm for modules.")
@click.option("--tenant", help="Of jobs of this tenant.")
@click.option("--tag", help="Of jobs with this tag.")
@click.option("--concurrency", type=_number, help="Jobs that run at once.")
@click.option("--starts", type=click.IntRange(1), help="Jobs that start within --per.")
@click.option("--per", "per_ms", type=DURATION, help="10ms to 1h.")
@click.option("--description", default="", help="For people.")
@_json
@server_options
@click.pass_context
def limit_set(
    ctx: click.Context, /, name: str, per_ms: int | None, as_json: bool, **options: Any
) -> int:
    """Set all of a limit: one of --type, --tenant and --tag, and --concurrency or a rate."""
    from headrace.cli.output import print_struct

    if (options["starts"] is None) != (per_ms is None):
        raise click.UsageError("--starts and --per go together: --starts 100 --per 1m")
    if sum(options[of] is not None for of in ("type", "tenant", "tag")) != 1:
        raise click.UsageError("say one of --type, --tenant and --tag")
    server = server_of(ctx, options)
    per = None if per_ms is None else seconds(per_ms)
    made = with_client(server, lambda client: client.set_limit(name, per=per, **options))
    if as_json:
        print_struct(made)
    else:
        _print_limits(made)
    return EXIT_OK


@limits_command.command("remove")
@click.argument("name")
@_json
@server_options
@click.pass_context
def limit_remove(ctx: click.Context, /, name: str, as_json: bool, **options: Any) -> int:
    """Remove a limit."""
    with_client(server_of(ctx, options), lambda client: client.delete_limit(name))
    return _removed("Limit", name, as_json)


def _print_limits(*found: LimitView) -> None:
    from headrace.cli.output import print_table

    def of(one: LimitView) -> tuple[str, ...]:
        kind, what = next(
            (kind, what)
            for kind, what in (("type", one.type), ("tenant", one.tenant), ("tag", one.tag))
            if what is not None
        )
        rate = one.rate
        return (
            one.name,
            f"{kind} {what}",
            f"{one.running:,}",
            "" if one.concurrency is None else f"{one.concurrency:,}",
            "" if rate is None else f"{rate.starts:,} in {rate.per:g} s",
            "" if rate is None else f"{rate.left:,}",
            one.description,
        )

    titles = ("limit", "of", "running", "at once", "starts", "left now", "description")
    print_table(
        titles,
        [of(one) for one in found],
        right=("running", "at once", "starts", "left now"),
        cut=("limit", "of", "description"),
        drop=("description", "left now"),
    )


# Tenants ----------------------------------------------------------------------------------------


@click.group(
    "tenants",
    invoke_without_command=True,
    epilog="""\b
Examples:
  headrace tenants                                           what each has waiting and running
  headrace tenants set acme --weight 3 --jobs-max 100000
  headrace tenants set acme --running-jobs 50 --running-memory-mb 64000 --job-memory-mb 8000
  headrace tenants remove acme                               back to the defaults""",
)
@_json
@server_options
@click.pass_context
def tenants_command(ctx: click.Context, /, as_json: bool, **server: Any) -> int:
    """Show tenants; set their shares of the workers and their quotas."""
    from headrace.cli.output import print_struct

    ctx.obj = server
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    found = with_client(server, AsyncClient.tenants)
    if as_json:
        print_struct(found)
    else:
        _print_tenants(*found)
    return EXIT_OK


@tenants_command.command("set")
@click.argument("name")
@click.option(
    "--weight",
    type=click.IntRange(1, TENANT_WEIGHT_MAX),
    default=TENANT_WEIGHT_DEFAULT,
    show_default=True,
    help="Its share of the workers: of two, 3 has three jobs started for each of 1.",
)
@click.option("--jobs-max", type=_number, help="Jobs that have not ended.")
@click.option("--bytes-max", type=SIZE, help="Size of those jobs, without modules: 512MiB.")
@click.option("--running-jobs", type=_number, help="Its jobs that run at once.")
@click.option("--running-cpu", type=click.FloatRange(0), help="Cores that they take together.")
@click.option("--running-memory-mb", type=_number, help="Memory of them together.")
@click.option("--running-gpu", type=click.FloatRange(0), help="GPUs of them together.")
@click.option("--job-cpu", type=click.FloatRange(0), help="Cores that one job may ask for.")
@click.option("--job-memory-mb", type=_number, help="Memory that one job may ask for.")
@click.option("--job-gpu", type=click.FloatRange(0), help="GPUs that one job may ask for.")
@click.option("--description", default="", help="For people.")
@_json
@server_options
@click.pass_context
def tenant_set(ctx: click.Context, /, name: str, as_json: bool, **options: Any) -> int:
    """Set all of a tenant's share and quotas; what is left out has no limit."""
    from headrace.cli.output import print_struct

    server = server_of(ctx, options)
    settings: dict[str, Any] = {
        field: options[field] for field in ("weight", "jobs_max", "bytes_max", "description")
    }
    for group in ("running", "job"):
        most = {
            field: options[f"{group}_{option}"]
            for option, field in (
                ("jobs", "jobs"),
                ("cpu", "cpu_cores"),
                ("memory_mb", "memory_mb"),
                ("gpu", "gpu_count"),
            )
            if options.get(f"{group}_{option}") is not None
        }
        if most:
            settings[f"{group}_max"] = most
    made = with_client(server, lambda client: client.set_tenant(name, **settings))
    if as_json:
        print_struct(made)
    else:
        _print_tenants(made)
    return EXIT_OK


@tenants_command.command("remove")
@click.argument("name")
@_json
@server_options
@click.pass_context
def tenant_remove(ctx: click.Context, /, name: str, as_json: bool, **options: Any) -> int:
    """Remove a tenant's settings; its jobs and keys stay."""
    with_client(server_of(ctx, options), lambda client: client.delete_tenant(name))
    return _removed("Tenant", name, as_json)


def _print_tenants(*found: TenantView) -> None:
    from headrace.cli.output import amounts_text, print_table

    def of(one: TenantView) -> tuple[str, ...]:
        most = one.running_max
        running_most = None if most is None else most.jobs
        return (
            one.name,
            str(one.weight),
            _of(one.jobs, one.jobs_max),
            _sizes(one.bytes, one.bytes_max),
            f"{one.depth:,}",
            "" if most is None else _of(one.running.jobs, running_most),
            "" if most is None else amounts_text(most),
            "" if one.job_max is None else amounts_text(one.job_max),
            one.description,
        )

    titles = (
        *("tenant", "weight", "jobs", "size", "ready", "running", "together", "a job"),
        "description",
    )
    print_table(
        titles,
        [of(one) for one in found],
        right=("weight", "jobs", "size", "ready", "running"),
        cut=("tenant", "together", "a job", "description"),
        drop=("description", "ready", "size"),
    )


def _of(count: int, most: int | None) -> str:
    return f"{count:,}" if most is None else f"{count:,} of {most:,}"


def _sizes(used: int, most: int | None) -> str:
    from rich.filesize import decimal

    return decimal(used) if most is None else f"{decimal(used)} of {decimal(most)}"


def _removed(kind: str, name: str, as_json: bool) -> int:
    from headrace.cli.output import print_struct

    if as_json:
        print_struct({"name": name, "removed": True})
    else:
        click.echo(f"{kind} {name} is removed.")
    return EXIT_OK
