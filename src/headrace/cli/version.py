"""`headrace version`."""

import click

from headrace import __version__


@click.command("version")
def version_command() -> None:
    """Print the version."""
    click.echo(f"headrace {__version__}")
