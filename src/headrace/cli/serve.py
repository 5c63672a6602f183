"""`headrace serve`: the server."""

import logging
from pathlib import Path
from typing import Any, Final

import click

from headrace.cli.app import EXIT_USAGE, fail
from headrace.cli.configuring import DATA_DEFAULT, config_options, configuration
from headrace.runtime.config import Config, ConfigError
from headrace.runtime.logs import logging_to

log = logging.getLogger("headrace")

EXIT_STORE_DAMAGED: Final = 65
EXIT_STORE: Final = 74
EXIT_STORE_BUSY: Final = 75
EXIT_STORE_TOO_NEW: Final = 78
"""EX_IOERR of sysexits.h: the data directory cannot be used, or a commit failed."""


@click.command(
    "serve",
    epilog=f"""\b
Examples:
  headrace serve                                  jobs in ./{DATA_DEFAULT}
  headrace serve --memory --port 0                nothing kept, any free port
  headrace serve --queue compute=2 --queue slow=1

\b
Each option can be set in a file, as `port: 9000`, or from the environment, as HEADRACE_PORT;
`headrace config` shows how, and what is in force. --drain and --lease take 90s or 1h30m, sizes
512MiB or 1.5GB.
Stop it with SIGTERM or Ctrl-C: requests end, then the store is closed.
Exit codes: 0 stopped, {EXIT_USAGE} wrong configuration, {EXIT_STORE} the data directory failed,
{EXIT_STORE_BUSY} another server has it, {EXIT_STORE_DAMAGED} it is damaged,
{EXIT_STORE_TOO_NEW} a later version made it.""",
)
@config_options
def serve_command(file: Path | None, **options: Any) -> int:
    """Run the server.

    Jobs are on disk before their submit is answered. Without API keys it listens on this machine
    only.
    """
    found = configuration(file, options)
    config = found.config
    try:
        with logging_to(config.job_logger, config.log_format):
            if found.file is not None:
                log.info("settings of %s", found.file)
            for warning in found.warnings:
                log.warning("%s", warning)
            return _serve(config)
    except OSError as error:
        fail(f"the log file {config.job_logger.file} cannot be written: {error}", EXIT_USAGE)


def _serve(config: Config) -> int:
    import uvloop

    from headrace.http.serving import serve
    from headrace.http.tracing import TracingError
    from headrace.runtime.node import Node
    from headrace.store.contract import StoreBusy, StoreDamaged, StoreError, StoreTooNew

    place = "in memory" if config.data_dir is None else f"in {config.data_dir}"

    def ready(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"headrace serves http://{shown}:{port}, jobs {place}", err=True)

    async def main() -> int:
        return await serve(Node(config), ready)

    try:
        return uvloop.run(main())
    except (ConfigError, TracingError) as error:
        fail(str(error), EXIT_USAGE)
    except StoreBusy as error:
        fail(f"the data directory cannot be used: {error}", EXIT_STORE_BUSY)
    except StoreDamaged as error:
        fail(
            f"the data directory cannot be used: {error}; `headrace inspect DATA` says more, and"
            " `headrace restore BACKUP NEW_DATA` makes a store of a backup",
            EXIT_STORE_DAMAGED,
        )
    except StoreTooNew as error:
        fail(f"the data directory cannot be used: {error}", EXIT_STORE_TOO_NEW)
    except (StoreError, OSError) as error:
        fail(f"the data directory cannot be used: {error}", EXIT_STORE)
