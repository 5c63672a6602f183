"""Handlers of the worker in the dashboard's tests: a quick one, one that fails, a slow one."""

from typing import Any

from headrace.worker import Worker
from headrace.worker.handlers_async import AsyncContext

worker = Worker()


@worker.job("send_mail")
async def send_mail(ctx: AsyncContext, params: dict[str, Any]) -> dict[str, Any]:
    ctx.log(f"mail to {params.get('to')}")
    return {"sent": True, "message_id": f"<{ctx.job.id}@mail.example>"}


@worker.job("fails")
async def fails(ctx: AsyncContext, params: dict[str, Any] | None) -> dict[str, int]:
    """Fail in all attempts up to a number; later ones end well."""
    ctx.log(f"attempt {ctx.attempt} of a job that fails")
    if ctx.attempt <= (params or {}).get("times", 1_000):
        raise ValueError((params or {}).get("error", "the account is locked"))
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
