"""`headrace work`: a worker."""

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from headrace.cli.app import EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, fail
from headrace.cli.options import DURATION, pairs, words
from headrace.runtime.logs import Level, log_to_console
from headrace.sdk.connection import api_key_of
from headrace.sdk.errors import UsageError
from headrace.wire import limits

if TYPE_CHECKING:
    from headrace.worker.agent import Agent

URL_DEFAULT: Final = "http://127.0.0.1:8080"
EXIT_GRACE_S: Final = 1.0


@click.command(
    "work",
    context_settings={"auto_envvar_prefix": "HEADRACE"},
    epilog="""\b
Examples:
  headrace work                          WASM, and the types echo, sleep, fail, burn to try it
  headrace work tasks:worker             the handlers of tasks.py, beside WASM
  headrace work path/to/tasks.py         the same by its file
  headrace work tasks.py --reload        anew at each change of the code
  headrace work tasks --no-wasm --concurrency 32 --queues mail,reports

\b
tasks.py:
  from headrace.worker import Worker
  worker = Worker()
  @worker.job("resize", run="process")   a child process: killed on cancel and timeout
  def resize(ctx, params):
      ctx.progress(0.5, "half of it")
      return {"width": params["width"]}

\b
Stop it with SIGTERM or Ctrl-C: no new jobs, running ones may finish (--drain), the rest is given
back; what has a checkpoint is asked to stop at once. A second signal gives everything back at once.
Exit codes: 0 drained, 2 wrong usage, 3 the server refuses this worker. A server that cannot be
reached is waited for.""",
)
@click.argument("target", metavar="[MODULE:WORKER]", required=False)
@click.option(
    "--url",
    default=URL_DEFAULT,
    show_default=True,
    show_envvar=True,
    help="Address of the server.",
)
@click.option(
    "--api-key",
    show_envvar=True,
    help="Key for the server; or HEADRACE_API_KEY_FILE names its file.",
)
@click.option("--name", default="", help="Shown as the worker of a job. [host name and process]")
@click.option(
    "--concurrency",
    type=click.IntRange(1, limits.POLL_JOBS_MAX),
    help="Jobs at a time. [as many as processors, at least 4]",
)
@click.option("--cpu", type=click.FloatRange(0), help="Cores that jobs may reserve. [all]")
@click.option("--memory-mb", type=click.IntRange(0), help="Memory that jobs may reserve. [all]")
@click.option("--types", help="Job types to serve, with commas. [all that have a handler]")
@click.option("--queues", help="Queues to serve, with commas. [all]")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", help="For jobs that ask for it."
)
@click.option("--wasm/--no-wasm", default=True, show_default=True, help="Run WASM modules.")
@click.option(
    "--drain",
    type=DURATION,
    default="30s",
    show_default=True,
    help="How long running jobs may take to finish at the end.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of modules and their compiled code. [~/.cache/headrace]",
)
@click.option("--reload", is_flag=True, help="Start anew when the code changes. For development.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
def work_command(target: str | None, reload: bool, log_level: Level, **options: Any) -> int:
    """Run a worker: take jobs from the server and run them.

    MODULE:WORKER names a module and the Worker in it (default "worker").
    """
    if reload:
        from headrace.cli.reloading import FLAG, work_reloading

        words_given = sys.argv[sys.argv.index("work") + 1 :]
        return work_reloading(target, [word for word in words_given if word != FLAG])
    log_to_console(log_level)

    from headrace.worker.agent import Agent, AgentConfig, AgentError
    from headrace.worker.handlers import WorkerDefinitionError, load_worker

    try:
        worker = load_worker(target or "headrace.worker.builtin:worker")
        agent = Agent(
            AgentConfig(
                url=options["url"],
                api_key=options["api_key"] or api_key_of(os.environ),
                name=options["name"],
                concurrency=options["concurrency"] or 0,
                cpu_milli=None if options["cpu"] is None else round(options["cpu"] * 1000),
                memory_mb=options["memory_mb"],
                labels=pairs(options["labels"], "--label"),
                queues=words(options["queues"]),
                types=words(options["types"]),
                wasm=options["wasm"],
                drain_s=options["drain"] / 1000,
                cache_dir=options["cache"],
            ),
            worker,
        )
    except (AgentError, UsageError, WorkerDefinitionError) as error:
        fail(str(error), EXIT_USAGE)
    served = sorted(agent.handlers) + (["WASM modules"] if agent.config.wasm else [])
    click.echo(
        f"headrace work: {agent.config.name} serves {', '.join(served)}; "
        f"{agent.config.concurrency} jobs at a time; from {agent.config.url}",
        err=True,
    )
    try:
        asyncio.run(_run(agent))
    except AgentError as error:
        fail(str(error), EXIT_PROBLEM)
    return EXIT_OK


async def _run(agent: "Agent") -> None:
    from headrace.worker.exits import guard

    def stop(_number: int, _frame: object) -> None:
        if agent.draining:
            agent.release_now()
        else:
            agent.drain()

    # The loop's own handlers wait for whatever blocks the loop, so the plain ones do the work; the
    # loop's are there because with them a signal wakes a loop that sleeps.
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _nothing)
        signal.signal(number, stop)
    guard(loop)
    await agent.run(on_drained=_leave_soon)


def _nothing() -> None:
    """For a signal that was dealt with already."""


def _leave_soon() -> None:
    """Everything is reported. A handler that does not stop shall not keep the process."""
    from headrace.worker.exits import leave

    timer = threading.Timer(EXIT_GRACE_S, leave, (EXIT_OK,))
    timer.daemon = True
    timer.start()
