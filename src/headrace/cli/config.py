"""`headrace config`: what the server would run with, and where each value comes from."""

import json
import re
from pathlib import Path
from typing import Any, Final

import click

from headrace.cli.app import EXIT_OK, EXIT_USAGE, fail
from headrace.cli.configuring import config_options, configuration
from headrace.runtime.config import Config, ConfigError
from headrace.runtime.layers import FILE_DEFAULT, Effective, Given, effective

_PLAIN_TEXT: Final = re.compile(r"[A-Za-z/][\w./-]*|(?:[0-9]+(?:ms|[smhd]|[KMGT]iB))+")
_WORDS_OF_YAML: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""Some readers of YAML take them for something else than text."""
COMMENT_COLUMN: Final = 40


@click.command(
    "config",
    epilog=f"""\b
Examples:
  headrace config                         what `headrace serve` here would run with
  headrace config > {FILE_DEFAULT}        a file with every setting, to change
  headrace config --check {FILE_DEFAULT}  is it in order?
  HEADRACE_PORT=9000 headrace config --lease 1m

\b
Flags are stronger than the environment, and it is stronger than the file. The file is YAML;
--config or HEADRACE_CONFIG name another than {FILE_DEFAULT}.
Exit codes: {EXIT_OK} in order, {EXIT_USAGE} not.""",
)
@click.option(
    "--check",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Only say whether a file is in order, whatever environment and flags are.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@config_options
def config_command(check: Path | None, as_json: bool, file: Path | None, **options: Any) -> int:
    """Print the effective configuration, with the source of each value."""
    if check is not None:
        return _check(check)
    found = configuration(file, options)
    click.echo(_json(found) if as_json else _yaml(found))
    _warn(found)
    try:
        directory = found.config.data_dir
        found.config.check(has_keys=directory is not None and directory.exists())
    except ConfigError as error:
        fail(str(error), EXIT_USAGE)
    return EXIT_OK


def _check(file: Path) -> int:
    try:
        found = effective(Config, file=file)
        found.config.check()
    except ConfigError as error:
        fail(str(error), EXIT_USAGE)
    _warn(found)
    click.echo(f"{file} is in order")
    return EXIT_OK


def _warn(found: Effective[Config]) -> None:
    for warning in found.warnings:
        click.echo(f"headrace: {warning}", err=True)


def _json(found: Effective[Config]) -> str:
    shown = {}
    for setting in found.settings:
        for path, given in found.of(setting).items():
            value = setting.show(given.value)
            shown[".".join(path)] = {"value": value, "source": given.source}
    file = None if found.file is None else str(found.file)
    return json.dumps({"file": file, "settings": shown, "warnings": found.warnings}, indent=2)


def _yaml(found: Effective[Config]) -> str:
    lines: list[str] = []
    above: tuple[str, ...] = ()
    for setting in found.settings:
        items: dict[tuple[str, ...], Given | None] = {**found.of(setting)}
        items = items or {setting.path: None}
        for path, given in items.items():
            section = path[:-1]
            for depth, name in enumerate(section):
                if section[: depth + 1] != above[: depth + 1]:
                    lines.append(f"{'  ' * depth}{_scalar(name)}:")
            above = section
            indent = "  " * len(section)
            if given is None:  # a mapping without items
                lines.append(f"{indent}{_scalar(path[-1])}: {{}}")
                continue
            line = f"{indent}{_scalar(path[-1])}: {_scalar(setting.show(given.value))}"
            lines.append(f"{line:<{COMMENT_COLUMN}} # {given.source}")
    return "\n".join(lines)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and (
        not _PLAIN_TEXT.fullmatch(value) or value.lower() in _WORDS_OF_YAML
    ):
        # Text of JSON is text of YAML; half a surrogate pair is neither.
        return json.dumps(value.encode("utf-8", "replace").decode())
    if isinstance(value, list | tuple):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    return value if isinstance(value, str) else json.dumps(value)
