"""What the workers of these tests serve."""

import os
from typing import Any

from headrace.worker import Worker
from headrace.worker.handlers import Context
from headrace.worker.handlers_async import AsyncContext

worker = Worker()


@worker.job("hold_first")
async def hold_first(ctx: AsyncContext) -> dict[str, int]:
    """Hang in the first attempt; a later one ends at once."""
    if ctx.attempt == 1:
        await ctx.sleep(3_600)
    return {"attempt": ctx.attempt}


@worker.job("emits", run="thread")
def emits(ctx: Context) -> dict[str, int]:
    """Tell webhooks of an event, and end."""
    ctx.emit("scene.loaded", {"nodes": 3})
    return {"attempt": ctx.attempt}


@worker.job("nap")
async def nap(ctx: AsyncContext, params: dict[str, Any]) -> dict[str, int]:
    await ctx.sleep(params["seconds"])
    return {"attempt": ctx.attempt}


@worker.job("stubborn", run="thread")
def stubborn(ctx: Context, params: dict[str, Any]) -> dict[str, int]:
    """End a moment after the file is there, whatever is asked meanwhile."""
    import time

    while not os.path.exists(params["until"]):
        time.sleep(0.01)
    return {"attempt": ctx.attempt}


@worker.job("spin", run="process")
def spin(ctx: Context) -> None:
    """Compute for ever, and tell which process does it."""
    ctx.progress(0.5, str(os.getpid()))
    while True:
        pass


@worker.job("climb")
class Climb:
    """Goes up step by step from where it was left."""

    def __init__(self, ctx: AsyncContext, params: dict[str, Any]) -> None:
        self.ctx, self.params = ctx, params
        self.step = self.began = 0

    def resume(self, checkpoint: Any) -> None:
        self.step = self.began = checkpoint

    async def run(self) -> dict[str, int]:
        steps = self.params["steps"]
        while self.step < steps:
            self.step += 1
            self.ctx.progress(self.step / steps, f"{self.step}")
            await self.ctx.sleep(self.params["pause"])
        return {"began": self.began, "attempt": self.ctx.attempt}

    def suspend(self) -> int:
        return self.step
