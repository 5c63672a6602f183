"""`headrace completion`: the words of the command line, completed by the shell."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from headrace.cli.app import EXIT_OK

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog="""\b
Examples:
  eval "$(headrace completion bash)"                    for this shell; in ~/.bashrc for all
  eval "$(headrace completion zsh)"                     in ~/.zshrc
  headrace completion fish > ~/.config/fish/completions/headrace.fish""",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> int:
    """Print what makes the shell complete commands and options."""
    from headrace.cli.app import app

    kind = get_completion_class(shell)
    assert kind is not None, "click knows the three"
    click.echo(kind(app, {}, "headrace", "_HEADRACE_COMPLETE").source())
    return EXIT_OK
