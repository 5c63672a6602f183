"""Options and values that several commands share."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
from click.core import ParameterSource

from headrace.cli.app import EXIT_PROBLEM, EXIT_UNREACHABLE, EXIT_USAGE, fail
from headrace.sdk.connection import URL_DEFAULT, URL_VARIABLE
from headrace.sdk.errors import SdkError, ServerProblem, UsageError
from headrace.wire.durations import duration_ms
from headrace.wire.sizes import size_bytes

Function = TypeVar("Function", bound=Callable[..., Any])


class DurationType(click.ParamType[int]):
    """Milliseconds, written as seconds or text such as 90s or 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return duration_ms(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


DURATION = DurationType()


class SizeType(click.ParamType[int]):
    """Bytes, written as text such as 512MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return size_bytes(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


SIZE = SizeType()


def server_options(function: Function) -> Function:
    """How a client finds the server, and who it says it is."""
    for option in (
        click.option(
            "--api-key", envvar="HEADRACE_API_KEY", help="Key for the server.", show_envvar=True
        ),
        click.option(
            "--user",
            envvar="HEADRACE_USER",
            show_envvar=True,
            help="Who you are, for a server without keys.",
        ),
        click.option(
            "--url",
            envvar=URL_VARIABLE,
            default=URL_DEFAULT,
            show_default=True,
            show_envvar=True,
            help="Address of the server.",
        ),
    ):
        function = option(function)
    return function


def server_of(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Take the server out of a subcommand's options; what they do not say, its group says."""
    found = {}
    for name in ("url", "api_key", "user"):
        value = options.pop(name)
        said = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        found[name] = value if said else ctx.obj[name]
    return found


class InstantType(click.ParamType[str]):
    """An instant as the server takes it, or how long ago."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value[-1:].isalpha() or value[-1:] in "Zz":
            return str(value)
        try:
            ago = timedelta(milliseconds=duration_ms(value))
            return (datetime.now(UTC) - ago).isoformat(timespec="milliseconds")
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no instant as 2030-12-31T18:00:00Z and no time as 2h", param, ctx
            )


_FILTERS: Final = (
    ("--status", "Words such as queued, running, failed; with commas or repeated.", True),
    ("--type", "Job types; wasm for modules.", True),
    ("--queue", "", True),
    ("--group", "Groups of job types.", True),
    ("--tag", "Tags that the job has, all of them.", True),
    ("--label", "NAME or NAME=VALUE that the job requires of its worker.", True),
    ("--owner", "Whose jobs; for others' you must be an admin.", False),
    ("--name", "The exact name.", False),
    ("--name-prefix", "How the name begins.", False),
    ("--submitted-after", "A time as 2030-12-31T18:00:00Z, or so long ago as 2h.", None),
    ("--submitted-before", "", None),
    ("--finished-after", "The same of its end: finished jobs only.", None),
    ("--finished-before", "", None),
)
"""Option, help, whether it has several words; None: an instant."""


def filter_options(function: Function) -> Function:
    """Which jobs; `filters_of` reads what is given."""
    for option, text, several in reversed(_FILTERS):
        made = click.option(
            option,
            help=text or None,
            multiple=bool(several),
            type=InstantType() if several is None else str,
        )
        function = made(function)
    return function


def filters_of(options: dict[str, Any]) -> dict[str, Any]:
    """Take the filters that were given out of a command's options."""
    found = {}
    for option, _, several in _FILTERS:
        name = option[2:].replace("-", "_")
        value = options.pop(name)
        if several:
            value = [word for text in value for word in words(text) or ()]
        if value:
            found[name] = value
    return found


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """Read NAME=VALUE words."""
    found = {}
    for value in values:
        name, separator, rest = value.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{option} takes NAME=VALUE, not {value!r}")
        found[name] = rest
    return found


def words(value: str | None) -> list[str] | None:
    """Read a list of words with commas between them."""
    if value is None:
        return None
    return [word.strip() for word in value.split(",") if word.strip()]


def text_of(value: str, option: str) -> str:
    """Return the text itself, of a file as @FILE, or of standard input as -."""
    try:
        if value == "-":
            return sys.stdin.read()
        if value.startswith("@"):
            return Path(value[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise click.UsageError(f"{option}: cannot read {value}: {reason}") from None
    return value


def json_of(value: str, option: str) -> Any:
    text = text_of(value, option)
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(
            f"{option} is not JSON ({error}); write for example {option} '{{\"n\": 1}}', "
            f"or {option} @file.json"
        ) from None


def fail_of_sdk(error: SdkError, url: str) -> NoReturn:
    """End the command for what the library raised, saying what to do next."""
    fail(*advice(error, url))


def advice(error: SdkError, url: str) -> tuple[str, int]:
    """Return what to tell of an error, and the exit code for it."""
    if isinstance(error, UsageError):
        return str(error), EXIT_USAGE
    if isinstance(error, ServerProblem):
        where = f"\nField: {error.pointer}" if error.pointer else ""
        later = "\nThe server asks to try again later." if error.retryable else ""
        told = error.members.get("advice")
        key = f"\n{told}." if isinstance(told, str) else ""
        if error.status == 401:
            key = "\nGive a key with --api-key, HEADRACE_API_KEY or HEADRACE_API_KEY_FILE."
        elif error.code == "job_unknown":
            key = "\n`headrace list` shows your jobs; others' are not shown (see --user)."
        code = f" [{error.code}]" if error.code else ""
        return f"{error.title}: {error.detail}{code}{where}{later}{key}", EXIT_PROBLEM
    reason = str(error).removeprefix(f"{url.rstrip('/')}: ")
    return (
        f"cannot reach the server at {url}: {reason}\n"
        "Start one with `headrace up` or `headrace serve`, or name another with --url or "
        f"{URL_VARIABLE}.",
        EXIT_UNREACHABLE,
    )
