"""`headrace cleanup` and `headrace audit`: what has been, deleted and shown."""

from typing import Any, Final

import click

from headrace.cli.app import EXIT_OK
from headrace.cli.jobs import with_client
from headrace.cli.options import DURATION, server_options
from headrace.sdk.client import AsyncClient
from headrace.wire.document_routes import AuditView
from headrace.wire.durations import seconds

ENTRIES_SHOWN: Final = 50


@click.command(
    "cleanup",
    epilog="""\b
Examples:
  headrace cleanup --older-than 30d
  headrace cleanup --older-than 12h --json

\b
The server does so by itself, after the retention of its configuration or of a job's type; this is
for sooner. `headrace bulk delete` deletes by type, tag, status and so on.""",
)
@click.option(
    "--older-than", "age_ms", type=DURATION, required=True, help="Since they ended: 12h, 30d."
)
@click.option("--json", "as_json", is_flag=True, help="Print how many as JSON.")
@server_options
def cleanup_command(age_ms: int, as_json: bool, **server: Any) -> int:
    """Delete finished jobs that ended so long ago, with their results and logs."""
    from headrace.cli.many import count_bars
    from headrace.cli.output import print_struct

    async def clean(client: AsyncClient) -> int:
        deleted = 0
        with count_bars() as bars:
            bar = bars.add_task("deleted", total=None, jobs=0)
            while True:
                answer = await client.cleanup(seconds(age_ms))
                deleted += answer.deleted
                bars.update(bar, jobs=deleted)
                if answer.complete:
                    return deleted

    deleted = with_client(server, clean)
    if as_json:
        print_struct({"deleted": deleted})
    else:
        click.echo(f"{deleted:,} jobs deleted")
    return EXIT_OK


@click.command(
    "audit",
    epilog="""\b
Examples:
  headrace audit
  headrace audit --limit 1000 --json""",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=ENTRIES_SHOWN, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
@server_options
def audit_command(limit: int, as_json: bool, **server: Any) -> int:
    """Show who changed what and when, the newest first."""
    from headrace.cli.output import print_struct, print_table

    async def look(client: AsyncClient) -> list[AuditView]:
        return [entry async for entry in client.audit(most=limit)]

    found = with_client(server, look)
    if as_json:
        print_struct(found)
        return EXIT_OK
    if not found:
        click.echo("No entries.", err=True)
        return EXIT_OK
    print_table(
        ("at", "user", "act", "name", "detail", "key"),
        [
            (
                (entry.at or "")[:19].replace("T", " "),
                entry.user,
                entry.act,
                entry.name,
                entry.detail,
                entry.key_id or "",
            )
            for entry in found
        ],
        cut=("user", "name", "detail"),
        drop=("key", "detail"),
    )
    return EXIT_OK
