"""`headrace submit`: a typed job or a WASM module."""

from pathlib import Path
from typing import Any

import click

from headrace.cli.app import EXIT_OK
from headrace.cli.jobs import show_end, watch, with_client
from headrace.cli.many import is_directory, is_many, submit_many
from headrace.cli.options import DURATION, json_of, pairs, server_options, text_of
from headrace.sdk.client import WASM_REQUIREMENTS, AsyncClient
from headrace.sdk.errors import SdkError
from headrace.wire import limits
from headrace.wire.durations import seconds

WASM_SUFFIX = ".wasm"
STORED = "sha256:"
PATH_STARTS = ("/", "./", "../", "~")


class SubmitCommand(click.Command):
    """Knows what people mean by an option that is not ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(
                f"{error.format_message()} A module's own arguments go after --.", ctx
            ) from None


@click.command(
    "submit",
    cls=SubmitCommand,
    epilog="""\b
Examples:
  headrace submit echo --params '{"n": 1}' --wait
  headrace submit report --params @report.json --priority high --delay 10m
  headrace submit program.wasm --wait -- first second        after -- the module's arguments
  headrace submit program.wasm --stdin @input.txt --memory-mb 64 --timeout 30s --env MODE=fast
  headrace submit publish --after "$(headrace submit render)"   when the other has completed
  headrace submit sha256:9f86d0...0f00a08 -- first           a module that is stored
  id=$(headrace submit nightly --key nightly-2030-01-31)     a repeat gives the same job
  headrace submit jobs.ndjson --wait                         a job a line, as POST /api/v1/jobs
  generate | headrace submit - --queue bulk --skip-wrong     the same from a pipe
  headrace submit modules/ --timeout 1m                      each *.wasm of a directory

\b
Prints the job's id; with --wait its result instead, and exits 1 if it did not complete. Of many
jobs it prints the ids, and with --wait how many completed; a job a line may say all that options
say, and goes before them.""",
)
@click.argument("target", metavar="TYPE|FILE.wasm|sha256:HEX|JOBS.ndjson|DIRECTORY|-")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--params", help="JSON for a typed job; @FILE or - to read it.")
@click.option("--name", help="[the type's, or the file's]")
@click.option("--priority", help="0 to 9, or critical, high, normal, low. [5]")
@click.option("--queue", help="[default]")
@click.option("--cpu", type=click.FloatRange(0), help="Cores to reserve. [1 for a module]")
@click.option(
    "--memory-mb", type=click.IntRange(0), help="To reserve; a module's limit. [256 for it]"
)
@click.option("--storage-mb", type=click.IntRange(0), help="Storage to reserve.")
@click.option("--gpu", type=click.FloatRange(0), help="GPUs to reserve; 0.5 shares one.")
@click.option("--gpu-type", "gpu_types", multiple=True, help="Model; repeat for alternatives.")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", help="That its worker must have."
)
@click.option("--timeout", type=DURATION, help="How long it may run. [1h]")
@click.option("--delay", type=DURATION, help="Run it so much later.")
@click.option("--at", "scheduled_at", help="Run it at this time, as in 2026-12-31T18:00:00Z.")
@click.option("--start-before", help="Skip it if it has not started by then.")
@click.option(
    "--after",
    multiple=True,
    metavar="JOB_ID",
    help="Run it when that job has completed; repeatable. If that ends otherwise, it is skipped.",
)
@click.option("--after-any-end", is_flag=True, help="Run it however the jobs of --after end.")
@click.option(
    "--await-module", is_flag=True, help="Of sha256:HEX: wait until that module is stored."
)
@click.option("--webhook-url", help="Told of its end, signed with the tenant's secret.")
@click.option(
    "--retries", type=click.IntRange(0, limits.RETRIES_MAX), help="[2; 0 for a WASM module]"
)
@click.option("--retry-delay", type=DURATION, help="Before the first retry; it doubles. [1s]")
@click.option("--key", help="Idempotency key: a second submit with it gives the first one's job.")
@click.option("--tag", "tags", multiple=True, help="To find it by; repeatable.")
@click.option("--retention", help="How long it is kept after its end: 7d, or never.")
@click.option("--stdin", help="Text for a module's standard input; @FILE or - to read it.")
@click.option(
    "--env", "environment", multiple=True, metavar="NAME=VALUE", help="For a module; repeatable."
)
@click.option("--entry-point", help="Function of the module. [_start]")
@click.option("--success-code", "success_codes", multiple=True, type=click.IntRange(0, 255))
@click.option("--skip-wrong", is_flag=True, help="Of many: leave out jobs that are refused.")
@click.option("--wait", is_flag=True, help="Wait for its end and print its result.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
def submit_command(
    target: str,
    arguments: tuple[str, ...],
    skip_wrong: bool,
    wait: bool,
    as_json: bool,
    url: str,
    api_key: str | None,
    user: str | None,
    **options: Any,
) -> int:
    """Submit a job: a TYPE that workers have a handler for, or a WASM file. Or many.

    When an id is printed its job is on disk.
    """
    server = {"url": url, "api_key": api_key, "user": user}
    if is_many(target):
        if arguments or options["key"] or as_json:
            raise click.UsageError("--key, --json and arguments are for a single job")
        common = _fields(options, (), is_directory(target), of_many=True)
        return with_client(
            server,
            lambda client: submit_many(client, target, common, skip=skip_wrong, wait=wait),
        )
    if skip_wrong:
        raise click.UsageError("--skip-wrong is for many jobs: JOBS.ndjson, a directory, or -")
    stored = target.startswith(STORED)
    is_wasm = target.endswith(WASM_SUFFIX) or stored
    if options["await_module"] and not stored:
        raise click.UsageError("--await-module is for a module by its hash, sha256:HEX")
    if not is_wasm and target.startswith(PATH_STARTS):
        raise click.UsageError(f"{target} is not a WASM file (*{WASM_SUFFIX})")
    fields = _fields(options, arguments, is_wasm)
    if stored:
        fields.setdefault("name", "module")
        fields["requirements"] = {**WASM_REQUIREMENTS, **fields.get("requirements", {})}

    async def submit(client: AsyncClient) -> int:
        if stored:
            submitted = await client.submit(
                wasm_sha256=target.removeprefix(STORED), arguments=arguments, **fields
            )
        elif is_wasm:
            path = Path(target)
            if not path.is_file():
                raise click.UsageError(f"there is no file {target}")
            submitted = await client.submit_wasm(path, arguments, **fields)
        else:
            submitted = await client.submit(target, **fields)
        if submitted.warning is not None:
            click.echo(f"headrace: {submitted.warning.get('detail')}", err=True)
        if wait:
            try:
                job = await watch(client, submitted.job_id)
            except SdkError:
                click.echo(f"headrace: it goes on as job {submitted.job_id}", err=True)
                raise
            return show_end(job, as_json=as_json)
        if as_json:
            import msgspec

            from headrace.cli.output import print_json

            print_json(msgspec.json.encode(submitted))
        else:
            click.echo(submitted.job_id)
        return EXIT_OK

    return with_client(server, submit)


def _fields(
    options: dict[str, Any], arguments: tuple[str, ...], is_wasm: bool, *, of_many: bool = False
) -> dict[str, Any]:
    """Return what was said, as the fields of a submit. What was not said is left to the server.

    of_many: of jobs that say themselves what they are.
    """
    if not of_many:
        _check_kind(options, arguments, is_wasm)
    fields: dict[str, Any] = {}
    for option, field in (
        ("name", "name"),
        ("priority", "priority"),
        ("queue", "queue"),
        ("scheduled_at", "scheduled_at"),
        ("start_before", "start_before"),
        ("retries", "max_retries"),
        ("key", "idempotency_key"),
        ("entry_point", "entry_point"),
        ("webhook_url", "webhook_url"),
        ("retention", "retention"),
    ):
        if options[option] is not None:
            fields[field] = options[option]
    if options["priority"] is not None and options["priority"].lstrip("-").isdigit():
        fields["priority"] = int(options["priority"])
    for option in ("timeout", "delay", "retry_delay"):
        if options[option] is not None:
            fields[option] = seconds(options[option])
    if options["params"] is not None:
        fields["params"] = json_of(options["params"], "--params")
    if options["stdin"] is not None:
        fields["stdin"] = text_of(options["stdin"], "--stdin")
    if options["environment"]:
        fields["environment"] = pairs(options["environment"], "--env")
    for option in ("tags", "success_codes", "after", "after_any_end", "await_module"):
        if options[option]:
            fields[option] = options[option]
    requirements = _requirements(options)
    if requirements:
        fields["requirements"] = requirements
    return fields


def _check_kind(options: dict[str, Any], arguments: tuple[str, ...], is_wasm: bool) -> None:
    if is_wasm and options["params"] is not None:
        raise click.UsageError("--params is for typed jobs; give a module arguments after --")
    if is_wasm:
        return
    if arguments:
        raise click.UsageError(
            f"arguments are for WASM files (*{WASM_SUFFIX}); give a typed job --params"
        )
    for option, value in (
        ("--stdin", options["stdin"]),
        ("--env", options["environment"]),
        ("--entry-point", options["entry_point"]),
        ("--success-code", options["success_codes"]),
    ):
        if value:
            raise click.UsageError(f"{option} is for WASM files (*{WASM_SUFFIX})")


def _requirements(options: dict[str, Any]) -> dict[str, Any]:
    requirements: dict[str, Any] = {}
    for option, field in (
        ("cpu", "cpu_cores"),
        ("memory_mb", "memory_mb"),
        ("storage_mb", "storage_mb"),
        ("gpu", "gpu_count"),
    ):
        if options[option] is not None:
            requirements[field] = options[option]
    if options["gpu_types"]:
        requirements["gpu_type"] = list(options["gpu_types"])
    if options["labels"]:
        requirements["labels"] = pairs(options["labels"], "--label")
    return requirements
