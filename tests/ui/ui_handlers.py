"""Handlers of the worker in the dashboard's tests: quick ones, slow ones, ones that fail."""

import random
from typing import Any

from headrace.worker import PermanentError, Worker
from headrace.worker.handlers_async import AsyncContext

worker = Worker()


@worker.job("send_mail")
async def send_mail(ctx: AsyncContext, params: dict[str, Any]) -> dict[str, Any]:
    ctx.log(f"mail to {params.get('to')}")
    await ctx.sleep(random.uniform(0.01, 0.15))
    return {"sent": True, "message_id": f"<{ctx.job.id}@mail.example>"}


@worker.job("resize_image")
async def resize_image(ctx: AsyncContext, params: dict[str, Any]) -> dict[str, Any]:
    await ctx.sleep(random.uniform(0.05, 0.6))
    if random.random() < 0.04:
        raise PermanentError("cannot decode: marker 0xffd9 expected at byte 48213")
    return {"width": params.get("width"), "bytes": 48_213}


@worker.job("sync_account")
async def sync_account(ctx: AsyncContext) -> dict[str, int]:
    await ctx.sleep(random.uniform(0.02, 0.3))
    if random.random() < 0.3:
        raise ConnectionError("connect to crm.example:443 timed out after 5.0 s")
    return {"rows": 1_200}


@worker.job("fails")
async def fails(ctx: AsyncContext, params: dict[str, Any]) -> dict[str, int]:
    """Fail in all attempts up to a number; later ones end well."""
    ctx.log(f"attempt {ctx.attempt} of a job that fails")
    if ctx.attempt <= params.get("times", 1_000):
        raise ValueError(params.get("error", "the account is locked"))
    return {"attempt": ctx.attempt}


@worker.job("render_report")
class RenderReport:
    """Goes on page by page from where it was left."""

    def __init__(self, ctx: AsyncContext, params: dict[str, Any]) -> None:
        self.ctx, self.params = ctx, params
        self.page = 0

    def resume(self, checkpoint: Any) -> None:
        self.page = checkpoint

    async def run(self) -> dict[str, int]:
        pages = self.params.get("pages", 200)
        while self.page < pages:
            self.page += 1
            self.ctx.progress(self.page / pages, f"page {self.page} of {pages}")
            self.ctx.log(f"page {self.page}: \x1b[32mlaid out\x1b[0m <b>in</b> 12 ms")
            await self.ctx.sleep(self.params.get("pause", 0.2))
        return {"pages": pages}

    def suspend(self) -> int:
        return self.page
