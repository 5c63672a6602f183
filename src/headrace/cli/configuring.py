"""The server's settings as options of a command, read together with the file and environment."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from headrace.cli.app import EXIT_USAGE, fail
from headrace.runtime.config import SETTINGS, Config, ConfigError
from headrace.runtime.layers import FILE_DEFAULT, FILE_VARIABLE, Effective, effective
from headrace.runtime.settings import Setting

Function = TypeVar("Function", bound=Callable[..., Any])

DATA_DEFAULT: Final = Path("headrace-data")
_DEFAULTS: Final = {"data": DATA_DEFAULT}


def config_options(function: Function) -> Function:
    """Add an option for each setting, and the one that names the file."""
    for setting in reversed(SETTINGS):
        function = _option(setting)(function)
    return click.option(
        "--config",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f"File of settings. [{FILE_VARIABLE}, or {FILE_DEFAULT} if it is there]",
    )(function)


def configuration(file: Path | None, options: dict[str, Any]) -> Effective[Config]:
    """Return the server's configuration; ends the command if there is a mistake in it."""
    flags = {setting.key: options.pop(_variable(setting)) for setting in SETTINGS}
    try:
        return effective(Config, file=file, environ=os.environ, flags=flags, defaults=_DEFAULTS)
    except ConfigError as error:
        fail(str(error), EXIT_USAGE)


def _option(setting: Setting) -> Callable[[Function], Function]:
    help_text = setting.mark.help
    default = setting.show(_DEFAULTS.get(setting.key, setting.default))
    if isinstance(default, dict):
        help_text += " Repeatable."
        default = " ".join(f"{name}={value}" for name, value in default.items())
    if setting.is_flag:
        positive = setting.flag.removeprefix("--")
        names = f"--{positive}/--no-{positive}"
        default = names.split("/")[not default]
        return click.option(
            names, _variable(setting), default=None, help=f"{help_text} [{default}]"
        )
    if default is not None and setting.mark.secret is False:
        help_text += f" [{default}]"
    return click.option(
        setting.flag,
        _variable(setting),
        multiple=setting.is_mapping,
        metavar=setting.word,
        help=help_text,
    )


def _variable(setting: Setting) -> str:
    return "setting_" + "_".join(setting.path)
