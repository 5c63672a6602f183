"""`headrace up`: a server and a worker on this machine, two jobs to see it work.

Both are processes of their own, as they would be anywhere. They stop with this one, the worker
first, so that its last reports arrive.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

import click

from headrace.cli.app import EXIT_JOB_FAILED, EXIT_OK, EXIT_PROBLEM, fail
from headrace.cli.demo import module_that_prints
from headrace.cli.jobs import watch
from headrace.cli.options import fail_of_sdk
from headrace.sdk.client import AsyncClient, Job
from headrace.sdk.errors import SdkError

PORT_DEFAULT: Final = 8080
HOST: Final = "127.0.0.1"
START_S_MAX: Final = 30.0
START_LOOK_S: Final = 0.05
STOP_S_MAX: Final = 15.0
DEMO_LINE: Final = "Hello from a WASM module, run in a sandbox by headrace."
DEMO_SLEEP_S: Final = 2.0
BOOTSTRAP: Final = (
    # The kernel ends the child when this process goes, however it goes.
    "import ctypes, sys; sys.path.insert(0, sys.argv.pop(1)); ctypes.CDLL(None).prctl(1, 15); "
    "sys.argv[0] = 'headrace'; from headrace.cli import main; main()"
)


@click.command(
    "up",
    epilog="""\b
Examples:
  headrace up                         until Ctrl-C
  headrace up --once                  stop after the two jobs
  headrace up tasks:worker            with your own handlers beside them""",
)
@click.argument("target", metavar="[MODULE:WORKER]", required=False)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default="headrace-data",
    show_default=True,
    help="Directory of the jobs and of the worker's modules.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    help=f"Port of the server. [{PORT_DEFAULT}, or a free one]",
)
@click.option("--once", is_flag=True, help="Stop after the jobs have ended.")
def up_command(target: str | None, data: Path, port: int | None, once: bool) -> int:
    """Start a server and a worker here, run two jobs, keep serving."""
    chosen = port or _free_port()
    if port is None and chosen != PORT_DEFAULT:
        click.echo(f"Port {PORT_DEFAULT} is taken; using {chosen}.")
    try:
        return asyncio.run(_up(target, data, chosen, once))
    except SdkError as error:
        fail_of_sdk(error, f"http://{HOST}:{chosen}")


def _free_port() -> int:
    """Return the usual port, or one that the system gives."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT_DEFAULT))
        except OSError:
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def _up(target: str | None, data: Path, port: int, once: bool) -> int:
    url = f"http://{HOST}:{port}"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # What is set for a server of this place or environment is not for this one.
    server = await _start(
        *("serve", "--config", os.devnull, "--port", str(port), "--data", str(data))
    )
    worker: asyncio.subprocess.Process | None = None
    try:
        async with AsyncClient(url, user="you") as client:
            if not await _answers(client, server, stop):
                return EXIT_OK if stop.is_set() else EXIT_PROBLEM
            arguments = [target] if target is not None else []
            worker = await _start(
                "work", *arguments, "--url", url, "--cache", str(data / "worker"), "--drain", "5s"
            )
            ok = await _until(stop, _demo(client, target is None))
            if once or stop.is_set():
                return EXIT_OK if ok or stop.is_set() else EXIT_JOB_FAILED
            _explain(url)
            await _until(stop, _first_end(server, worker))
            if not stop.is_set():
                fail("the server or the worker ended; see above", EXIT_PROBLEM)
            return EXIT_OK
    finally:
        click.echo("Stopping.")
        for process in (worker, server):
            if process is not None:
                await _end(process)


async def _start(command: str, *arguments: str) -> asyncio.subprocess.Process:
    import headrace

    package_parent = str(Path(headrace.__file__).resolve().parent.parent)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", BOOTSTRAP, package_parent, command, *arguments, "--log-level", "warning"),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process, which stops them in order
        env={key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")},
    )


async def _answers(
    client: AsyncClient, server: asyncio.subprocess.Process, stop: asyncio.Event
) -> bool:
    """Wait until the server answers. False: it ended, or we are to stop."""
    async with asyncio.timeout(START_S_MAX):
        while server.returncode is None and not stop.is_set():
            with contextlib.suppress(SdkError):
                await client.probe()
                return True
            await asyncio.sleep(START_LOOK_S)
    return False


async def _until(stop: asyncio.Event, work: Any) -> Any:
    """Await something, or the request to stop; then None."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return None


async def _demo(client: AsyncClient, with_typed: bool) -> bool:
    """Run a module and a typed job; show what comes of them."""
    module = await client.submit_wasm(
        module_that_prints(DEMO_LINE),
        name="hello",
        requirements={"cpu_cores": 0.1, "memory_mb": 16},
    )
    submitted = [("WASM module", module)]
    if with_typed:
        typed = await client.submit("sleep", {"seconds": DEMO_SLEEP_S}, priority="high")
        submitted.append(("typed job", typed))
    ok = True
    for kind, job in submitted:
        click.echo(f"Submitted a {kind}: {job.job_id}")
    for _, job in submitted:
        ended = await watch(client, job.job_id)
        _show(ended)
        ok = ok and ended.completed
    return ok


def _show(job: Job) -> None:
    result = job.output.decode("utf-8", "replace").rstrip() if not job.job.type else job.value
    shown = result if job.completed else job.error
    click.echo(f"  {job.job.name} {job.status}: {shown}")


async def _first_end(*processes: asyncio.subprocess.Process) -> None:
    waits = [asyncio.ensure_future(process.wait()) for process in processes]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()
                return


def _explain(url: str) -> None:
    click.echo(f"""
headrace serves {url}. Submit a job from anywhere on this machine:

  curl -s {url}/api/v1/jobs -H 'Content-Type: application/json' \\
       -d '{{"type": "echo", "params": {{"hello": "world"}}}}'
  curl -s '{url}/api/v1/jobs/JOB_ID?wait=30s'

or with this program:

  export HEADRACE_URL={url}
  headrace submit echo --params '{{"hello": "world"}}' --wait
  headrace submit burn --params '{{"seconds": 20}}'      then: headrace cancel JOB_ID
  headrace list

Ctrl-C stops the server and the worker; the jobs are kept.""")
