"""`headrace webhooks`: have events sent to URLs, and see what became of them."""

from typing import Any, Final

import click
import msgspec

from headrace.cli.app import EXIT_OK
from headrace.cli.jobs import with_client
from headrace.cli.options import DURATION, server_of, server_options
from headrace.sdk.client import AsyncClient
from headrace.wire.durations import seconds
from headrace.wire.webhook_routes import DeliveryView, WebhookView, Whose

DELIVERIES_SHOWN: Final = 50
_json: Final = click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
_webhook_id: Final = click.argument("webhook_id", metavar="ID")


@click.group(
    "webhooks",
    invoke_without_command=True,
    epilog="""\b
Examples:
  headrace webhooks                                            all of them, and how they do
  headrace webhooks add https://example.com/hook --event 'job.failed' --event 'job.completed'
  headrace webhooks test ID                                    sends a webhook.ping
  headrace webhooks deliveries ID --status failed
  headrace webhooks replay ID DELIVERY
  headrace webhooks enable ID                                  after its receiver was mended

\b
Requests are signed as Standard Webhooks says; `add` and `rotate` print the secret once.""",
)
@_json
@server_options
@click.pass_context
def webhooks_command(ctx: click.Context, /, as_json: bool, **server: Any) -> int:
    """Have events sent to URLs; see what became of them."""
    from headrace.cli.output import print_struct

    ctx.obj = server
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    found = with_client(server, AsyncClient.webhooks)
    if as_json:
        print_struct(found)
    elif found:
        _print_webhooks(*found)
    else:
        click.echo("No webhooks. `headrace webhooks add URL` makes one.", err=True)
    return EXIT_OK


@webhooks_command.command("add")
@click.argument("address", metavar="URL")
@click.option(
    "--event", "events", multiple=True, help="Name, or job.* for all that begin so. [*, all]"
)
@click.option("--jobs", type=click.Choice(["own", "tenant"]), help="Of whose jobs.")
@click.option("--description", default="", help="For people.")
@click.option("--secret", help="whsec_ and base64, or a phrase. [one is made and printed]")
@_json
@server_options
@click.pass_context
def webhook_add(
    ctx: click.Context,
    /,
    address: str,
    events: tuple[str, ...],
    jobs: Whose | None,
    description: str,
    secret: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Have events sent to a URL. Prints its id, and its secret this once."""
    from headrace.cli.output import print_struct

    made = with_client(
        server_of(ctx, options),
        lambda client: client.add_webhook(
            address, events=events or ("*",), jobs=jobs, description=description, secret=secret
        ),
    )
    if as_json:
        print_struct(made)
        return EXIT_OK
    click.echo(made.id)
    if made.secret is not None:
        click.echo(made.secret)
        click.echo("This is the only time its secret is shown.", err=True)
    return EXIT_OK


@webhooks_command.command("remove")
@_webhook_id
@_json
@server_options
@click.pass_context
def webhook_remove(ctx: click.Context, /, webhook_id: str, as_json: bool, **options: Any) -> int:
    """Remove a webhook; what waits for it is not sent."""
    with_client(server_of(ctx, options), lambda client: client.delete_webhook(webhook_id))
    _say({"id": webhook_id, "removed": True}, f"Webhook {webhook_id} is removed.", as_json)
    return EXIT_OK


def _switch(name: str, enabled: bool, text: str) -> None:
    @webhooks_command.command(name, help=text)
    @_webhook_id
    @_json
    @server_options
    @click.pass_context
    def command(ctx: click.Context, /, webhook_id: str, as_json: bool, **options: Any) -> int:
        from headrace.cli.output import print_struct

        async def switch(client: AsyncClient) -> WebhookView:
            view = await client.webhook(webhook_id)
            return await client.set_webhook(
                webhook_id,
                view.url,
                events=view.events,
                jobs=view.jobs,
                description=view.description,
                enabled=enabled,
            )

        view = with_client(server_of(ctx, options), switch)
        if as_json:
            print_struct(view)
        else:
            _print_webhooks(view)
        return EXIT_OK


_switch("enable", True, "Send events to a webhook again.")
_switch("disable", False, "Send a webhook nothing.")


@webhooks_command.command("test")
@_webhook_id
@_json
@server_options
@click.pass_context
def webhook_test(ctx: click.Context, /, webhook_id: str, as_json: bool, **options: Any) -> int:
    """Send a webhook.ping; `deliveries` shows what becomes of it."""
    answer = with_client(server_of(ctx, options), lambda client: client.test_webhook(webhook_id))
    _say(answer, f"{answer.event} is on its way.", as_json)
    return EXIT_OK


@webhooks_command.command("rotate")
@_webhook_id
@click.option("--secret", help="The new one. [one is made and printed]")
@click.option(
    "--keep-old", "keep_ms", type=DURATION, help="How long the one before signs too. [24h]"
)
@_json
@server_options
@click.pass_context
def webhook_rotate(
    ctx: click.Context,
    /,
    webhook_id: str,
    secret: str | None,
    keep_ms: int | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Give a webhook a new secret, and print it this once."""
    keep = None if keep_ms is None else seconds(keep_ms)
    made = with_client(
        server_of(ctx, options),
        lambda client: client.rotate_webhook_secret(webhook_id, secret=secret, keep_old=keep),
    )
    _say(made, made.secret or "The secret is changed.", as_json)
    return EXIT_OK


@webhooks_command.command("deliveries")
@_webhook_id
@click.option("--status", type=click.Choice(["pending", "delivered", "failed"]))
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=DELIVERIES_SHOWN, show_default=True
)
@_json
@server_options
@click.pass_context
def webhook_deliveries(
    ctx: click.Context,
    /,
    webhook_id: str,
    status: str | None,
    limit: int,
    as_json: bool,
    **options: Any,
) -> int:
    """Show what waits for a webhook, then what is over, the newest first."""
    from headrace.cli.output import print_struct

    async def look(client: AsyncClient) -> list[DeliveryView]:
        return [row async for row in client.deliveries(webhook_id, status=status, most=limit)]

    found = with_client(server_of(ctx, options), look)
    if as_json:
        print_struct(found)
    elif found:
        _print_deliveries(found)
    else:
        click.echo("No deliveries.", err=True)
    return EXIT_OK


@webhooks_command.command("replay")
@_webhook_id
@click.argument("delivery_ids", metavar="DELIVERY...", nargs=-1, required=True)
@_json
@server_options
@click.pass_context
def webhook_replay(
    ctx: click.Context,
    /,
    webhook_id: str,
    delivery_ids: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Send deliveries again, now, under the same webhook-ids."""

    async def replay(client: AsyncClient) -> list[Any]:
        return [await client.replay_delivery(webhook_id, one) for one in delivery_ids]

    answers = with_client(server_of(ctx, options), replay)
    _say(answers, "\n".join(f"{answer.id} {answer.status}" for answer in answers), as_json)
    return EXIT_OK


def _say(answer: Any, text: str, as_json: bool) -> None:
    from headrace.cli.output import print_json

    if as_json:
        print_json(msgspec.json.encode(answer))
    else:
        click.echo(text)


def _print_webhooks(*found: WebhookView) -> None:
    from headrace.cli.output import print_table

    print_table(
        ("webhook", "status", "waiting", "last", "events", "url", "description"),
        [
            (
                one.id,
                "active" if one.enabled else "disabled",
                f"{one.pending:,}" if one.pending else "",
                _last(one),
                ",".join(one.events),
                one.url,
                one.description or (one.disabled_reason or ""),
            )
            for one in found
        ],
        right=("waiting",),
        cut=("last", "events", "url", "description"),
        drop=("description", "last", "waiting"),
    )


def _print_deliveries(found: list[DeliveryView]) -> None:
    from headrace.cli.output import age_of, print_table

    print_table(
        ("delivery", "event", "status", "tries", "last", "age", "job"),
        [
            (
                one.id,
                one.event,
                one.status,
                str(one.tries),
                _last(one),
                age_of(one.created_at),
                one.job_id or "",
            )
            for one in found
        ],
        right=("tries", "age"),
        cut=("event", "last"),
        drop=("job", "age"),
    )


def _last(one: WebhookView | DeliveryView) -> str:
    """Return how the latest try went."""
    if one.last is None:
        return ""
    return one.last.error or f"{one.last.status} in {one.last.took_ms} ms"
