"""`headrace bulk`: acts on all jobs that match, counted before and followed to their end."""

import asyncio
import sys
from typing import Any, Final

import click

from headrace.cli.app import EXIT_JOB_FAILED, EXIT_OK
from headrace.cli.jobs import with_client
from headrace.cli.many import count_bars
from headrace.cli.options import filter_options, filters_of, server_of, server_options
from headrace.sdk.client import AsyncClient
from headrace.wire.bulk_routes import BulkView, BulkWord

LOOK_S: Final = 0.2
"""Between two looks at how far it is."""
ACTS: Final[dict[BulkWord, tuple[str, str]]] = {
    "cancel": ("cancelled", "Cancel all jobs that match; running ones when their workers stop."),
    "suspend": ("suspended", "Set all jobs that match aside; running ones at their checkpoints."),
    "resume": ("resumed", "Let all suspended jobs that match go on."),
    "retry": ("retried", "Run all jobs that match and have ended without success again."),
    "delete": ("deleted", "Remove the records of all finished jobs that match."),
}
CHANGED: Final = "changed"
"""Why a job is left that does no longer match when its turn comes."""


@click.group(
    "bulk",
    invoke_without_command=True,
    epilog=f"""\b
Examples:
  headrace bulk cancel --type resize --dry-run            only count
  headrace bulk retry --status failed --finished-after 2h
  headrace bulk delete --status completed --finished-before 30d --yes
  headrace bulk                                           the latest acts, and how far they are
  headrace bulk stop ID                                   what is done stays done

\b
The jobs are counted, and it asks before it begins; a script says --yes. It is done in the server,
step by step, whether this command goes on or not; jobs that are submitted meanwhile are left alone.
Exit codes: 0 done, {EXIT_JOB_FAILED} some jobs could not be.""",
)
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
@click.pass_context
def bulk_command(ctx: click.Context, /, as_json: bool, **server: Any) -> int:
    """Cancel, retry, delete, suspend or resume all jobs that match."""
    ctx.obj = server
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    from headrace.cli.output import age_of, print_struct, print_table

    bulks = with_client(server, AsyncClient.bulks)
    if as_json:
        print_struct(bulks)
    elif bulks:
        titles = ("bulk", "act", "status", "done", "left", "looked at", "age")
        print_table(
            titles,
            [
                (
                    bulk.id,
                    f"{bulk.act} (dry)" if bulk.dry_run else bulk.act,
                    bulk.state,
                    f"{bulk.matched if bulk.dry_run else bulk.done:,}",
                    f"{bulk.skipped:,}",
                    f"{bulk.examined:,}",
                    age_of(bulk.started_at),
                )
                for bulk in bulks
            ],
            right=("done", "left", "looked at", "age"),
            drop=("looked at", "left"),
        )
    else:
        click.echo("No acts on many jobs.", err=True)
    return EXIT_OK


def _command(act: BulkWord) -> None:
    done_word, text = ACTS[act]

    @bulk_command.command(act, help=text)
    @filter_options
    @click.option("--all", "everything", is_flag=True, help="Without any filter: all jobs.")
    @click.option("--dry-run", is_flag=True, help="Only count the jobs.")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask.")
    @click.option("--no-wait", is_flag=True, help="Print its id, and do not wait for the end.")
    @click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
    @server_options
    @click.pass_context
    def command(
        ctx: click.Context,
        /,
        everything: bool,
        dry_run: bool,
        yes: bool,
        no_wait: bool,
        as_json: bool,
        **options: Any,
    ) -> int:
        filters = filters_of(options)
        if not filters and not everything:
            raise click.UsageError("say which jobs, such as --type or --status; or --all")
        if not yes and not dry_run and not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: say --yes, or --dry-run to count")
        server = server_of(ctx, options)

        async def run(client: AsyncClient) -> int:
            total = None
            if not yes or dry_run:
                counted = await _follow(
                    client, await client.start_bulk(act, dry_run=True, **filters), None
                )
                total = counted.matched
                if dry_run:
                    _tell(counted, f"headrace: {total:,} jobs match", as_json)
                    return EXIT_OK
                if not total:
                    _tell(counted, "headrace: no job matches", as_json)
                    return EXIT_OK
                click.confirm(f"{act} {total:,} jobs?", abort=True, err=True)
            begun = await client.start_bulk(act, **filters)
            if no_wait:
                _tell(begun, "", as_json)
                if not as_json:
                    click.echo(begun.id)
                return EXIT_OK
            try:
                ended = await _follow(client, begun, total)
            except asyncio.CancelledError:
                click.echo(
                    f"headrace: it goes on in the server; `headrace bulk stop {begun.id}` ends it",
                    err=True,
                )
                raise
            _tell(ended, _end_of(ended, done_word), as_json)
            return _code_of(ended)

        return with_client(server, run)


for _act in ACTS:
    _command(_act)


@bulk_command.command("show")
@click.argument("bulk_id", metavar="ID")
@server_options
@click.pass_context
def show_command(ctx: click.Context, /, bulk_id: str, **server: Any) -> int:
    """Print how far an act is, as JSON."""
    from headrace.cli.output import print_struct

    print_struct(with_client(server_of(ctx, server), lambda client: client.bulk(bulk_id)))
    return EXIT_OK


@bulk_command.command("stop")
@click.argument("bulk_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
@click.pass_context
def stop_command(ctx: click.Context, /, bulk_id: str, as_json: bool, **server: Any) -> int:
    """End an act where it is; what is done stays done."""
    view = with_client(server_of(ctx, server), lambda client: client.cancel_bulk(bulk_id))
    _tell(view, f"headrace: {view.state}; {view.done:,} jobs were done", as_json)
    return EXIT_OK


async def _follow(client: AsyncClient, view: BulkView, total: int | None) -> BulkView:
    """Wait for an act's end, on a terminal with a bar. total: jobs it will be about, if known."""
    with count_bars() as bars:
        word = "counted" if view.dry_run else ACTS[_word(view.act)][0]
        bar = bars.add_task(word, total=total, jobs=0)
        look_s = LOOK_S / 8
        while view.state == "running":
            await asyncio.sleep(look_s)
            look_s = min(look_s * 2, LOOK_S)
            view = await client.bulk(view.id)
            jobs = view.matched if view.dry_run else view.done + view.skipped
            bars.update(bar, completed=jobs, jobs=view.matched if view.dry_run else view.done)
    return view


def _word(act: str) -> BulkWord:
    return next(word for word in ACTS if word == act)


def _tell(view: BulkView, text: str, as_json: bool) -> None:
    if as_json:
        from headrace.cli.output import print_struct

        print_struct(view)
    elif text:
        click.echo(text, err=True)


def _end_of(view: BulkView, done_word: str) -> str:
    text = f"headrace: {view.done:,} jobs {done_word}"
    if view.skipped:
        reasons = ", ".join(f"{count:,} {code}" for code, count in sorted(view.reasons.items()))
        text += f", {view.skipped:,} left as they are: {reasons}"
    return text if view.state == "completed" else f"{text}; {view.state} before its end"


def _code_of(view: BulkView) -> int:
    left = view.skipped - view.reasons.get(CHANGED, 0)
    return EXIT_JOB_FAILED if left > 0 or view.state != "completed" else EXIT_OK
