"""The `headrace` command. Each subcommand is imported when it is called, so help is quick and a
client needs neither the store nor the sandbox."""


def main() -> None:
    """Run the command line; exits with the codes of `cli.app`."""
    from headrace.cli.app import run

    run()
