"""`headrace get`, `list`, `wait`, `logs` and so on: jobs as their owner sees them."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

import click

from headrace.cli.app import EXIT_JOB_FAILED, EXIT_OK
from headrace.cli.options import (
    DURATION,
    advice,
    fail_of_sdk,
    filter_options,
    filters_of,
    server_options,
)
from headrace.sdk.client import WAIT_PATIENCE_S, AsyncClient, Job
from headrace.sdk.errors import SdkError, ServerUnreachable

Value = TypeVar("Value")
Function = TypeVar("Function", bound=Callable[..., Any])

PROGRESS_LOOK: Final = "300ms"
"""How often a progress bar looks, at least."""
BAR_NAME_CHARS_MAX: Final = 24
"""Of a job's name beside its bar."""
LIST_LIMIT_DEFAULT: Final = 50


def with_client(server: dict[str, Any], call: Callable[[AsyncClient], Awaitable[Value]]) -> Value:
    """Do something with a client; what goes wrong ends the command with advice."""

    async def main() -> Value:
        async with AsyncClient(
            server["url"], api_key=server["api_key"], user=server["user"]
        ) as client:
            return await call(client)

    try:
        return asyncio.run(main())
    except SdkError as error:
        fail_of_sdk(error, server["url"])


@click.command("get", epilog="Exit code 0 whatever the job's status is; `headrace wait` tells.")
@click.argument("job_id")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
def get_command(job_id: str, as_json: bool, **server: Any) -> int:
    """Show a job and its result."""
    from headrace.cli.output import print_job, print_json

    job = with_client(server, lambda client: client.get(job_id))
    if as_json:
        print_json(job.body)
    else:
        print_job(job)
    return EXIT_OK


@click.command(
    "list",
    epilog="""\b
Examples:
  headrace list --status running,queued
  headrace list --type resize --limit 5 --json
  headrace list --status failed --finished-after 2h --order -finished_at""",
)
@filter_options
@click.option("--order", help="Such as -finished_at; - for the newest or most first.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=LIST_LIMIT_DEFAULT, show_default=True
)
@click.option("--cursor", help="Go on where the page before ended.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
def list_command(
    order: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
    url: str,
    api_key: str | None,
    user: str | None,
    **options: Any,
) -> int:
    """List jobs, the newest first."""
    import msgspec

    from headrace.cli.output import print_jobs, print_json

    filters = filters_of(options)
    page = with_client(
        {"url": url, "api_key": api_key, "user": user},
        lambda client: client.list(order=order, limit=limit, cursor=cursor, **filters),
    )
    if as_json:
        print_json(msgspec.json.encode(page))
        return EXIT_OK
    if page.jobs:
        print_jobs(page.jobs)
    else:
        click.echo("No jobs.", err=True)
    if page.next is not None:
        click.echo(f"There are more: --cursor {page.next}", err=True)
    return EXIT_OK


@click.command(
    "wait",
    epilog=f"""\b
Prints the result on standard output and the progress on standard error.
Exit codes: 0 completed, {EXIT_JOB_FAILED} ended otherwise, or --timeout is over.""",
)
@click.argument("job_id")
@click.option("--timeout", type=DURATION, help="Give up waiting after this long; the job goes on.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
def wait_command(job_id: str, timeout: int | None, as_json: bool, **server: Any) -> int:
    """Wait for a job's end, with its progress."""
    timeout_s = None if timeout is None else timeout / 1000
    job = with_client(server, lambda client: watch(client, job_id, timeout_s))
    return show_end(job, as_json=as_json)


def show_end(job: Job, *, as_json: bool) -> int:
    """Print what came of a job; return the exit code."""
    from headrace.cli.output import print_json, print_result

    if as_json:
        print_json(job.body)
    else:
        print_result(job)
    if not job.finished:
        click.echo(f"headrace: job {job.id} is still {job.status}", err=True)
    return EXIT_OK if job.completed else EXIT_JOB_FAILED


async def watch(client: AsyncClient, job_id: str, timeout_s: float | None = None) -> Job:
    """Wait for a job's end; on a terminal with a progress bar."""
    from headrace.cli.output import bar_column, console, cut_text

    out = console(stderr=True)
    if not out.is_terminal:
        return await client.wait(job_id, timeout_s=timeout_s)
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    loop = asyncio.get_running_loop()
    ends = float("inf") if timeout_s is None else loop.time() + timeout_s
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        bar_column(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[details]}"),
        console=out,
        transient=True,
    ) as bars:
        bar = bars.add_task("", total=1.0, details="")
        while True:
            left_s = max(0.0, ends - loop.time())
            patience_s = min(WAIT_PATIENCE_S, left_s)
            job = await client.get(job_id, wait=PROGRESS_LOOK, patience_s=patience_s)
            view = job.job
            bars.update(
                bar,
                description=f"{escape(cut_text(view.name, BAR_NAME_CHARS_MAX))} {view.status}",
                completed=1.0 if job.completed else view.progress,
                details=escape(view.progress_details or ""),
            )
            if job.finished or loop.time() >= ends:
                return job


def _job_ids(function: Function) -> Function:
    """Of commands that do something to each of some jobs."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON."),
        click.argument("job_ids", metavar="JOB_ID...", nargs=-1, required=True),
    ):
        function = option(function)
    return server_options(function)


@click.command(
    "cancel",
    epilog="`headrace bulk cancel` cancels all jobs that match.",
)
@_job_ids
def cancel_command(job_ids: tuple[str, ...], **server: Any) -> int:
    """Cancel jobs. A running one ends when its worker has stopped it."""
    return _each(server, job_ids, AsyncClient.cancel)


@click.command("suspend")
@_job_ids
def suspend_command(job_ids: tuple[str, ...], **server: Any) -> int:
    """Pause jobs. A running one is asked to stop, and keeps its checkpoint for `resume`."""
    return _each(server, job_ids, AsyncClient.suspend)


@click.command("resume")
@_job_ids
def resume_command(job_ids: tuple[str, ...], **server: Any) -> int:
    """Let suspended jobs go on, from their checkpoints if they have any."""
    return _each(server, job_ids, AsyncClient.resume)


@click.command("delete")
@_job_ids
def delete_command(job_ids: tuple[str, ...], **server: Any) -> int:
    """Remove the records of jobs that have ended, with their results and logs."""

    async def delete(client: AsyncClient, job_id: str) -> str:
        await client.delete(job_id)
        return "deleted"

    return _each(server, job_ids, delete)


@click.command(
    "retry",
    epilog="""\b
Examples:
  headrace list --status dead
  headrace retry 019300b1-0000-7000-8000-000000000001""",
)
@click.option("--force", is_flag=True, help="Also jobs that completed.")
@_job_ids
def retry_command(job_ids: tuple[str, ...], force: bool, **server: Any) -> int:
    """Run jobs again that have ended, with all their tries. One that waits for its time, now."""
    return _each(server, job_ids, partial(AsyncClient.retry, force=force))


def _each(
    server: dict[str, Any],
    job_ids: tuple[str, ...],
    act: Callable[[AsyncClient, str], Awaitable[str]],
) -> int:
    """Do something to each job, also after one that refuses; print their statuses after it."""
    as_json = server.pop("as_json")
    done: list[dict[str, str]] = []

    async def each(client: AsyncClient) -> int:
        worst = EXIT_OK
        for job_id in job_ids:
            try:
                status = await act(client, job_id)
            except ServerUnreachable:
                raise
            except SdkError as error:
                text, code = advice(error, server["url"])
                click.echo(f"headrace: {job_id}: {text}", err=True)
                worst = max(worst, code)
                continue
            done.append({"job_id": job_id, "status": status})
            if not as_json:
                click.echo(f"{job_id} {status}")
        return worst

    worst = with_client(server, each)
    if as_json:
        from headrace.cli.output import print_struct

        print_struct(done)
    return worst


@click.command(
    "explain", epilog="`headrace get` shows the job itself; `headrace list` finds its id."
)
@click.argument("job_id")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer.")
@server_options
def explain_command(job_id: str, as_json: bool, **server: Any) -> int:
    """Say why a job waits."""
    import msgspec

    from headrace.cli.output import print_explanation, print_json

    answer = with_client(server, lambda client: client.explain(job_id))
    if as_json:
        print_json(msgspec.json.encode(answer))
    else:
        print_explanation(answer)
    return EXIT_OK


@click.command("logs")
@click.argument("job_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--tail", type=click.IntRange(0, 100_000), help="Only the last lines.")
@server_options
def logs_command(job_id: str, follow: bool, tail: int | None, **server: Any) -> int:
    """Print a job's log."""

    async def pieces(client: AsyncClient) -> None:
        async for piece in client.logs(job_id, follow=follow, tail=tail):
            click.echo(piece, nl=False)

    with_client(server, pieces)
    return EXIT_OK
