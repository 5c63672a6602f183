"""Options and values that several commands share."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from headrace.cli.app import EXIT_PROBLEM, EXIT_UNREACHABLE, EXIT_USAGE, fail
from headrace.sdk.connection import URL_DEFAULT, URL_VARIABLE
from headrace.sdk.errors import SdkError, ServerProblem, UsageError
from headrace.wire.durations import duration_ms

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
        key = ""
        if error.status == 401:
            key = "\nGive a key with --api-key or HEADRACE_API_KEY."
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
