"""`headrace serve`: the server."""

import logging
from pathlib import Path
from typing import Any, Final

import click

from headrace.cli.app import EXIT_USAGE, fail
from headrace.cli.options import DURATION, pairs
from headrace.wire import limits

DATA_DEFAULT: Final = "headrace-data"
EXIT_STORE_DAMAGED: Final = 65
EXIT_STORE: Final = 74
EXIT_STORE_BUSY: Final = 75
EXIT_STORE_TOO_NEW: Final = 78
"""EX_IOERR of sysexits.h: the data directory cannot be used, or a commit failed."""
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@click.command(
    "serve",
    epilog=f"""\b
Examples:
  headrace serve                                  jobs in ./{DATA_DEFAULT}
  headrace serve --memory --port 0                nothing kept, any free port
  headrace serve --queue compute=2 --queue slow=1

\b
Each option can be set from the environment: HEADRACE_ and its name, as in HEADRACE_DATA.
Stop it with SIGTERM or Ctrl-C: requests end, then the store is closed.
Exit codes: 0 stopped, {EXIT_USAGE} wrong configuration, {EXIT_STORE} the data directory failed,
{EXIT_STORE_BUSY} another server has it, {EXIT_STORE_DAMAGED} it is damaged,
{EXIT_STORE_TOO_NEW} a later version made it.""",
    context_settings={"auto_envvar_prefix": "HEADRACE"},
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DATA_DEFAULT,
    show_default=True,
    help="Directory of the jobs; made if it is not there.",
)
@click.option("--memory", is_flag=True, help="Keep jobs in memory only; they end with the server.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 for any free one.",
)
@click.option(
    "--lease",
    type=DURATION,
    default="30s",
    show_default=True,
    help="A worker silent for this long is taken for dead.",
)
@click.option(
    "--crashes-max",
    type=click.IntRange(1),
    default=limits.CRASHES_MAX_DEFAULT,
    show_default=True,
    help="Crashed attempts after which a job is given up.",
)
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME=N",
    help="Jobs of a queue that run at once; repeatable. [compute=1 maintenance=5 download=10]",
)
@click.option(
    "--queue-size",
    type=click.IntRange(0),
    envvar=["HEADRACE_QUEUE_SIZE", "QUEUE_SIZE"],
    default=0,
    show_default="no limit",
    help="Unfinished jobs at most; more are refused with 429.",
)
@click.option("--max-cpu", type=click.FloatRange(0), help="Cores of the largest job taken.")
@click.option("--max-memory-mb", type=click.IntRange(0), help="Memory of the largest job taken.")
@click.option("--max-storage-mb", type=click.IntRange(0), help="Storage of the largest job taken.")
@click.option("--max-gpu", type=click.FloatRange(0), help="GPUs of the largest job taken.")
@click.option(
    "--disk-reserve-mb",
    type=click.IntRange(0),
    default=1_024,
    show_default=True,
    help="With less free disk, submits are refused with 507.",
)
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without any keys.")
@click.option(
    "--accept-any-filesystem",
    is_flag=True,
    help="Use a filesystem that may lose acknowledged jobs, such as tmpfs or NFS.",
)
@click.option(
    "--metric-prefix", default="headrace", show_default=True, help="Of the names in /metrics."
)
@click.option(
    "--drain",
    type=DURATION,
    default="10s",
    show_default=True,
    help="How long a stopping server lets requests end.",
)
@click.option(
    "--lane/--no-lane",
    default=True,
    help="Serve submits and polls on the quick path, or all through the HTTP library.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def serve_command(log_level: str, **options: Any) -> int:
    """Run the server.

    Jobs are on disk before their submit is answered. Without API keys it listens on this machine
    only.
    """
    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)

    import uvloop

    from headrace.http.serving import serve
    from headrace.runtime.config import ConfigError
    from headrace.runtime.node import Node
    from headrace.store.contract import StoreBusy, StoreDamaged, StoreError, StoreTooNew

    config = config_of(options)
    place = "in memory" if config.data_dir is None else f"in {config.data_dir}"

    def ready(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"headrace serves http://{shown}:{port}, jobs {place}", err=True)

    async def main() -> int:
        return await serve(Node(config), ready)

    try:
        return uvloop.run(main())
    except ConfigError as error:
        fail(str(error), EXIT_USAGE)
    except StoreBusy as error:
        fail(f"the data directory cannot be used: {error}", EXIT_STORE_BUSY)
    except StoreDamaged as error:
        fail(f"the data directory cannot be used: {error}", EXIT_STORE_DAMAGED)
    except StoreTooNew as error:
        fail(f"the data directory cannot be used: {error}", EXIT_STORE_TOO_NEW)
    except (StoreError, OSError) as error:
        fail(f"the data directory cannot be used: {error}", EXIT_STORE)


def config_of(options: dict[str, Any]) -> Any:
    """Return the server's configuration. Raises: ConfigError."""
    import msgspec

    from headrace.core.resources import Amounts
    from headrace.runtime.config import Config

    capacities = dict(Config().queue_capacities)
    for name, value in pairs(options["queues"], "--queue").items():
        if not value.isdigit():
            raise click.UsageError(f"--queue {name}={value}: the capacity is a whole number")
        capacities[name] = int(value)
    amounts = {
        "cpu_milli": _milli(options["max_cpu"], limits.CPU_MILLI_MAX),
        "memory_mb": options["max_memory_mb"],
        "storage_mb": options["max_storage_mb"],
        "gpu_milli": _milli(options["max_gpu"], limits.GPU_MILLI_MAX),
    }
    resources_max = None
    if any(amount is not None for amount in amounts.values()):
        unbounded = Amounts(
            limits.CPU_MILLI_MAX, limits.MEMORY_MB_MAX, limits.STORAGE_MB_MAX, limits.GPU_MILLI_MAX
        )
        named = {name: amount for name, amount in amounts.items() if amount is not None}
        resources_max = msgspec.structs.replace(unbounded, **named)
    return Config(
        data_dir=None if options["memory"] else options["data"],
        host=options["host"],
        port=options["port"],
        lease_ms=options["lease"],
        crashes_max=options["crashes_max"],
        queue_capacities=capacities,
        queue_size=options["queue_size"],
        resources_max=resources_max,
        disk_reserve_mb=options["disk_reserve_mb"],
        insecure=options["insecure"],
        accept_any_filesystem=options["accept_any_filesystem"],
        metric_prefix=options["metric_prefix"],
        drain_s=options["drain"] / 1000,
        lane=options["lane"],
    )


def _milli(amount: float | None, most: int) -> int | None:
    return None if amount is None else min(round(amount * 1000), most)
