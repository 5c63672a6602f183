"""Handlers to try a server with: what `headrace work` serves when no module is named."""

import msgspec

from headrace.worker.handlers import Context, Worker
from headrace.worker.handlers_async import AsyncContext

worker = Worker()

SLEEP_STEPS = 20


class Sleep(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float = 1.0


class Fail(msgspec.Struct, forbid_unknown_fields=True):
    tries: int = 1
    """Fail this many attempts, then succeed."""
    message: str = "asked to fail"


class Burn(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float = 1.0


@worker.job("echo")
async def echo(ctx: AsyncContext, params: object) -> object:
    """Return the params."""
    ctx.log(f"echo of {ctx.job.id}, attempt {ctx.attempt}")
    return params


@worker.job("sleep", params=Sleep)
async def sleep(ctx: AsyncContext, params: Sleep) -> dict[str, float]:
    """Wait, with progress. Suspended, it goes on where it was."""
    done: int = ctx.checkpoint or 0
    for step in range(done, SLEEP_STEPS):
        ctx.progress(step / SLEEP_STEPS, f"{step} of {SLEEP_STEPS}")
        await ctx.sleep(params.seconds / SLEEP_STEPS)
        ctx.checkpoint = step + 1
    return {"slept_s": params.seconds}


@worker.job("fail", params=Fail)
async def fail(ctx: AsyncContext, params: Fail) -> dict[str, int]:
    """Fail a number of times."""
    if ctx.attempt <= params.tries:
        raise RuntimeError(f"{params.message} (attempt {ctx.attempt} of {params.tries} to fail)")
    return {"attempt": ctx.attempt}


@worker.job("burn", params=Burn, run="process")
def burn(ctx: Context, params: Burn) -> dict[str, int]:
    """Compute in a child process, which a cancel or a timeout kills."""
    import time

    turns = 0
    ends = time.monotonic() + params.seconds
    while time.monotonic() < ends:
        turns += sum(range(1_000)) % 7 + 1
    return {"turns": turns}
