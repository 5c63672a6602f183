"""`headrace keys`: make, list and revoke API keys, of a running server or of a data directory."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import quote

import click

from headrace.cli.app import EXIT_OK, EXIT_PROBLEM, fail
from headrace.cli.jobs import with_client
from headrace.cli.options import DURATION, server_options
from headrace.wire.keys import SCOPE_WORDS

Value = TypeVar("Value")
Function = TypeVar("Function", bound=Callable[..., Any])

API: Final = "/api/v1/keys"
PAGE: Final = 1_000
_COLUMNS: Final = {
    "key": "id",
    "status": "status",
    "tenant": "tenant_id",
    "user": "user",
    "scopes": "scopes",
    "expires": "expires_at",
    "name": "name",
}
"""Titles, and the fields below them."""


@click.group(
    "keys",
    epilog="""\b
Examples:
  headrace keys create --data headrace-data --scopes admin      the first key; no server runs there
  headrace keys create --scopes submit,read --tenant acme --for ann --expires 90d
  headrace keys create --data headrace-data --scopes work --into worker.key    once, for a machine
  headrace keys revoke 3kTz0bXQ9a

\b
A key's secret is shown once. All but --data takes a server, and --api-key of an admin.""",
)
def keys_command() -> None:
    """Make, list and revoke API keys."""


def _target(function: Function) -> Function:
    """Where the keys are: a server, or a directory that no server has open."""
    for option in (
        click.option(
            "--data",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Work on a data directory instead; the server must not run.",
        ),
        click.option("--accept-any-filesystem", is_flag=True, hidden=True),
        click.option("--json", "as_json", is_flag=True, help="Print the whole answer."),
    ):
        function = option(function)
    return server_options(function)


@keys_command.command("create")
@click.option(
    "--scopes",
    required=True,
    metavar="WORDS",
    help=f"What it may be used for, with commas: {', '.join(SCOPE_WORDS)}.",
)
@click.option("--tenant", help="Whose jobs; * for all tenants. Default: as the key you have.")
@click.option("--for", "bearer", metavar="USER", help="Who will have it. Default: as your key.")
@click.option("--name", default="", help="What it is for.")
@click.option(
    "--expires", "expires_ms", type=DURATION, help="How long it lives; default: for ever."
)
@click.option(
    "--requests-per-second", type=float, help="How often it may ask. Default: as configured."
)
@click.option("--requests-burst", type=int, help="Of which at once; default: one second's.")
@click.option(
    "--jobs-per-second", type=float, help="How many jobs it may submit. Default: as configured."
)
@click.option("--jobs-burst", type=int, help="Of which at once; default: one second's.")
@click.option(
    "--into",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the secret, for its owner alone. If it is there, no key is made.",
)
@_target
def create_command(
    scopes: str,
    tenant: str | None,
    bearer: str | None,
    name: str,
    expires_ms: int | None,
    requests_per_second: float | None,
    requests_burst: int | None,
    jobs_per_second: float | None,
    jobs_burst: int | None,
    into: Path | None,
    data: Path | None,
    accept_any_filesystem: bool,
    as_json: bool,
    **server: Any,
) -> int:
    """Make a key, and print it: nobody can show it again."""
    if into is not None and into.exists():
        click.echo(f"{into} is there; no key is made.", err=True)
        return EXIT_OK
    body: dict[str, Any] = {
        "name": name,
        "scopes": [word.strip() for word in scopes.split(",") if word.strip()],
    }
    for field, value in (("tenant", tenant), ("user", bearer)):
        if value is not None:
            body[field] = value
    if expires_ms is not None:
        body["expires_in"] = expires_ms / 1_000
    for of, per_second, burst in (
        ("requests", requests_per_second, requests_burst),
        ("jobs", jobs_per_second, jobs_burst),
    ):
        if per_second is not None:
            body[of] = {"per_second": per_second, "burst": burst or 0}
        elif burst is not None:
            raise click.UsageError(f"--{of}-burst goes with --{of}-per-second")
    if data is None:
        made = with_client(server, lambda client: client.call("POST", API, body))
    else:
        made = _offline(data, accept_any_filesystem, lambda shop: shop.create(body))
    if into is not None:
        _write_secret(into, made["key"])
        click.echo(f"Key {made['id']} is in {into}.", err=True)
    elif as_json:
        _print_json(made)
    else:
        click.echo(made["key"])
        click.echo(f"Key {made['id']}. This is the only time its secret is shown.", err=True)
    return EXIT_OK


def _write_secret(file: Path, secret: str) -> None:
    """Write it whole or not at all, for the owner's eyes."""
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(f"{secret}\n")
            opened.flush()
            os.fsync(opened.fileno())
        part.rename(file)
    except OSError as error:
        fail(f"{file} cannot be written: {error}. The key that was made is lost", EXIT_PROBLEM)


@keys_command.command("list")
@_target
def list_command(
    data: Path | None, accept_any_filesystem: bool, as_json: bool, **server: Any
) -> int:
    """List keys, without their secrets."""
    path = f"{API}?limit={PAGE}"
    if data is None:
        found = with_client(server, lambda client: client.call("GET", path))
    else:
        found = _offline(data, accept_any_filesystem, lambda shop: shop.list())
    if as_json:
        _print_json(found)
        return EXIT_OK
    if not found["keys"]:
        click.echo("No keys.", err=True)
        return EXIT_OK
    from headrace.cli.output import print_table

    rows = [tuple(_word(key[column]) for column in _COLUMNS.values()) for key in found["keys"]]
    print_table(list(_COLUMNS), rows, cut=("tenant", "user", "expires", "name"), drop=("name",))
    return EXIT_OK


def _word(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value or "")


@keys_command.command("revoke")
@click.argument("key_id", metavar="ID")
@_target
def revoke_command(
    key_id: str, data: Path | None, accept_any_filesystem: bool, as_json: bool, **server: Any
) -> int:
    """Revoke a key: it opens nothing any more, from now on."""
    path = f"{API}/{quote(key_id, safe='')}"
    if data is None:
        found = with_client(server, lambda client: client.call("DELETE", path))
    else:
        found = _offline(data, accept_any_filesystem, lambda shop: shop.revoke(key_id))
    if as_json:
        _print_json(found)
    else:
        click.echo(f"Key {found['id']} is {found['status']}.")
    return EXIT_OK


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


# Without a server -------------------------------------------------------------------------------


class _Shop:
    """The handlers' deeds, on a node without doors."""

    def __init__(self, node: Any) -> None:
        from headrace.http.site import Site

        self._site = Site(node)

    async def create(self, body: dict[str, Any]) -> Any:
        import msgspec

        from headrace.http.decode import decode
        from headrace.http.handlers.keys import make
        from headrace.http.identity import OPEN
        from headrace.wire.document_routes import NewKey

        asked = decode(msgspec.json.Decoder(NewKey), msgspec.json.encode(body))
        return msgspec.to_builtins(await make(self._site, OPEN, asked))

    async def list(self) -> Any:
        import msgspec

        from headrace.http.handlers.keys import views
        from headrace.http.identity import OPEN

        found = views(self._site, OPEN)
        return {"keys": [msgspec.to_builtins(found[name]) for name in sorted(found)]}

    async def revoke(self, key_id: str) -> Any:
        import msgspec

        from headrace.http.handlers.keys import revoke
        from headrace.http.identity import OPEN

        return msgspec.to_builtins(await revoke(self._site, OPEN, key_id))


def _offline(
    directory: Path, any_filesystem: bool, deed: Callable[[_Shop], Awaitable[Value]]
) -> Value:
    from headrace.runtime.config import Config
    from headrace.runtime.node import Node
    from headrace.store.contract import StoreError
    from headrace.wire.problems import Problem

    async def main() -> Value:
        node = Node(Config(data_dir=directory, accept_any_filesystem=any_filesystem))
        await node.start()
        try:
            return await deed(_Shop(node))
        finally:
            await node.stop()

    try:
        return asyncio.run(main())
    except StoreError as error:
        _fail(f"{error}. For a running server leave --data out.")
    except Problem as problem:
        _fail(f"{problem.row.title}: {problem.detail}{os.linesep}Field: {problem.pointer}")


def _fail(text: str) -> NoReturn:
    fail(text, EXIT_PROBLEM)
