"""The group of commands, what they share, and the exit codes."""

import difflib
import gc
import importlib
import os
import shutil
import sys
import textwrap
from typing import Final, NoReturn

import click

GC_YOUNG_MAX: Final = 50_000
"""Imports make many objects and no garbage: to look for some at Python's default of 700 costs a
tenth of the start of a server."""
EXIT_OK: Final = 0
EXIT_JOB_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_PROBLEM: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_INTERRUPTED: Final = 130

SECTIONS: Final = {
    # section: {command: (module, what it does)}
    "Start": {
        "up": ("up", "Start a server and a worker here, run two jobs, keep serving."),
        "serve": ("serve", "Run the server."),
        "work": ("work", "Run a worker: take jobs and run them."),
        "config": ("config", "Show the server's settings, and where each comes from."),
        "keys": ("keys", "Make, list and revoke API keys."),
        "backup": ("backup", "Copy a store while its server runs."),
        "restore": ("backup", "Make a store of a backup."),
        "inspect": ("backup", "Look at every row of a store that no server has open."),
    },
    "Jobs": {
        "submit": ("submit", "Submit a typed job or a WASM module, or many."),
        "list": ("jobs", "List jobs."),
        "get": ("jobs", "Show a job and its result."),
        "wait": ("jobs", "Wait for a job's end, with its progress."),
        "watch": ("watch", "Follow a job: status, progress and log as they come."),
        "logs": ("jobs", "Print a job's log."),
        "explain": ("jobs", "Say why a job waits."),
        "cancel": ("jobs", "Cancel jobs."),
        "suspend": ("jobs", "Pause jobs, at their checkpoints."),
        "resume": ("jobs", "Let suspended jobs go on."),
        "retry": ("jobs", "Run jobs again that have ended."),
        "delete": ("jobs", "Remove the records of jobs that have ended."),
        "bulk": ("bulk", "Cancel, retry, delete, suspend or resume all jobs that match."),
    },
    "Operate": {
        "top": ("top", "Watch a server: rates, queues, workers, running jobs."),
        "queues": ("queues", "Show queues; pause, resume and limit them."),
        "types": ("queues", "List the registered job types."),
        "workers": ("workers", "Show workers; drain them, end them."),
        "demand": ("workers", "Say how many more jobs would run with more workers."),
        "limits": ("limits", "Limit how many jobs of a type, a tenant or a tag run or start."),
        "tenants": ("limits", "Show tenants; set their shares and quotas."),
        "webhooks": ("webhooks", "Have events sent to URLs; see what became of them."),
        "cleanup": ("cleanup", "Delete finished jobs that are old."),
        "audit": ("cleanup", "Show who changed what and when."),
    },
    "More": {
        "bench": ("bench", "Measure a server of its own on this machine."),
        "completion": ("completion", "Print what makes the shell complete words."),
        "version": ("version", "Print the version."),
    },
}
COMMANDS: Final = {
    name: module for section in SECTIONS.values() for name, (module, _) in section.items()
}
"""Of each command the module."""
COMMAND_CHARS: Final = max(map(len, COMMANDS))


class Commands(click.Group):
    """Imports a command's module when it is called; its own help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"headrace.cli.{COMMANDS[name]}")
        command = getattr(module, f"{name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                rows = [(name.ljust(COMMAND_CHARS), said) for name, (_, said) in commands.items()]
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"There is no command {name!r}.{hint} `headrace --help` lists them.")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"""\b
Start here:
  headrace up                               a server and a worker, to try it
  headrace submit echo --params '{{"n": 1}}' --wait
  headrace submit program.wasm --wait -- first second
  headrace list --status running

\b
Environment: HEADRACE_URL (http://127.0.0.1:8080), HEADRACE_API_KEY or HEADRACE_API_KEY_FILE,
HEADRACE_USER.

\b
Exit codes: {EXIT_OK} done, {EXIT_JOB_FAILED} the job did not complete, {EXIT_USAGE} wrong usage,
{EXIT_PROBLEM} the server answered with a problem, {EXIT_UNREACHABLE} the server cannot be reached.
`headrace COMMAND --help` has examples.""",
)
def app() -> None:
    """A durable job queue: submit WASM modules and typed jobs, run them on workers."""


def run() -> None:
    gc.set_threshold(GC_YOUNG_MAX)
    try:
        status = app(prog_name="headrace", standalone_mode=False)
    except click.ClickException as error:
        show(error)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # what reads our output has gone; so do we
        sys.exit(EXIT_OK)
    sys.exit(status if isinstance(status, int) else EXIT_OK)


def show(error: click.ClickException) -> None:
    """Tell a person of an error. On a terminal lines end between words, not in them."""
    text = f"Error: {error.format_message()}"
    if sys.stderr.isatty():
        cells = shutil.get_terminal_size().columns
        fill = textwrap.TextWrapper(
            width=cells, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        ).fill
        text = "\n".join(map(fill, text.splitlines()))
        if "NO_COLOR" not in os.environ:
            text = click.style("Error:", fg="red", bold=True) + text.removeprefix("Error:")
    click.echo(text, err=True)
    if isinstance(error, click.UsageError) and error.ctx is not None and "--help" not in text:
        click.echo(f"`{error.ctx.command_path} --help` says how it is used.", err=True)


class CommandFailed(click.ClickException):
    """The command ends with a message for the person."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self._code = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click has one per class
        return self._code


def fail(message: str, exit_code: int) -> NoReturn:
    raise CommandFailed(message, exit_code)
