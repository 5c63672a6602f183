"""What operators and impatient clients do in the crash campaign, beside submits and work: runs
again what ended, suspends and resumes, acts on all jobs with a tag, puts and drops limits and
quotas, registers webhooks that nobody answers, and drains workers.

Each document has one writer, so that its last acknowledged value is known.
"""

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from history import OK, Op
from http_client import Http

if TYPE_CHECKING:
    from load import Shared

PAUSE_S: Final = 0.1
DOOMED: Final = "doomed"
"""Tag of jobs that are deleted."""
BRIEF: Final = "brief"
"""Tag of jobs that are kept for `BRIEF_S` after their end."""
BRIEF_S: Final = 0.3
HALTED: Final = "halted"
"""Tag of jobs that are cancelled."""
ACT_OF: Final = {DOOMED: "delete", HALTED: "cancel"}
BULKS_MAX: Final = 40
"""Of a client; the server keeps a hundred."""
WEBHOOKS_MAX: Final = 3
DEAD_URL: Final = "http://127.0.0.1:9/hook"
EVENTS: Final = ("job.failed", "job.cancelled")
ENDED: Final = ("completed", "failed", "timeout", "cancelled", "skipped")
FIELD_OF: Final = {"limits": "concurrency", "tenants": "weight", "workers": "order"}
"""What tells one value of a document from another."""
WEIGHT_DEFAULT: Final = 1
"""Of a tenant without a document."""


class Operator:
    def __init__(self, shared: "Shared", ask: Any) -> None:
        self.shared = shared
        self._ask = ask
        self.random = random.Random(f"{shared.seed}-{shared.client}-operator")
        self.http = Http(shared.port)
        self.suspended: list[str] = []
        self.bulks = self.webhooks = 0
        self.worker = f"worker-{shared.client}-0"
        self.limit = f"limits/crash-{shared.client}"
        self.tenant = "tenants/" + ("default" if shared.client == "0" else "other")
        self.put: set[str] = set()

    async def run(self) -> None:
        acts = {
            self.retry: 8,
            self.suspend: 6,
            self.resume: 5,
            self.set_limit: 2,
            self.set_quota: 1,
            self.drain: 2,
            self.bulk: 1,
            self.register: 1,
        }
        while not self.shared.draining.is_set():
            await asyncio.sleep(self.random.random() * PAUSE_S)
            if self.shared.ids:
                (act,) = self.random.choices([*acts], [*acts.values()])
                await act()
        while not await self.order(""):
            await asyncio.sleep(PAUSE_S)
        self.http.close()

    async def act(self, op: Op, method: str, path: str, body: Any = None) -> Any:
        """One request, noted as `op`. Returns the answer if it is a good one."""
        op.began_s, op.ended_s, op.result, op.http, answer = await self._ask(
            self.http, method, f"/api/v1/{path}", body
        )
        if op.result == OK and op.kind in ("retry", "suspend", "resume"):
            op.status = answer["status"]
        elif op.result == OK and op.kind in ("bulk", "webhook"):
            op.ids = [answer["id"]]
        elif op.kind in ("document", "drain") and op.http == 404 and not op.value:
            op.result = OK  # it is not there: as it is to be
        self.shared.out.add(op)
        if not op.http:
            await asyncio.sleep(PAUSE_S)
        return answer if op.result == OK else None

    async def touch(self, kind: Any, job_id: str, query: str = "") -> str:
        op = Op(kind=kind, ids=[job_id], value=query)
        await self.act(op, "POST", f"jobs/{job_id}/{kind}{query}")
        return op.status

    # Jobs ---------------------------------------------------------------------------------------

    async def retry(self) -> None:
        job_id = self.random.choice(self.shared.ids)
        _, _, result, _, answer = await self._ask(self.http, "GET", f"/api/v1/jobs/{job_id}")
        ended = result == OK and answer["job"]["status"] in ENDED
        if ended or self.random.random() < 0.1:
            status = await self.touch("retry", job_id, self.random.choice(("", "?force=1")))
            self.shared.submitted += bool(status) and ended

    async def suspend(self) -> None:
        job_id = self.random.choice(self.shared.ids)
        if await self.touch("suspend", job_id):
            self.suspended.append(job_id)

    async def resume(self) -> None:
        if self.suspended:
            job_id = self.suspended.pop(self.random.randrange(len(self.suspended)))
            await self.touch("resume", job_id)

    async def bulk(self) -> None:
        if self.bulks == BULKS_MAX:
            return
        tag = self.random.choice((DOOMED, HALTED))
        body = {"act": ACT_OF[tag], "filter": {"tag": tag}}
        op = Op(kind="bulk", name=tag, value=ACT_OF[tag])
        self.bulks += await self.act(op, "POST", "jobs/bulk", body) is not None

    # Documents ----------------------------------------------------------------------------------

    async def document(self, name: str, value: str, body: Any) -> None:
        op = Op(kind="document", name=name, value=value)
        await self.act(op, "PUT" if value else "DELETE", name, body if value else None)

    async def set_limit(self) -> None:
        most = self.random.choice((0, 20, 40, 80))
        await self.document(
            self.limit, str(most or ""), {"type": self.shared.type, "concurrency": most}
        )

    async def set_quota(self) -> None:
        weight = self.random.choice((0, 2, 3, 5))
        body = {
            "weight": weight,
            "jobs_max": self.random.choice((300, 100_000)),
            "running_max": {"jobs": self.random.choice((30, 200))},
        }
        await self.document(self.tenant, str(weight or ""), body)

    async def register(self) -> None:
        if self.webhooks < WEBHOOKS_MAX:
            body = {"url": DEAD_URL, "events": list(EVENTS)}
            made = await self.act(Op(kind="webhook"), "POST", "webhooks", body)
            self.webhooks += made is not None

    async def drain(self) -> None:
        await self.order(self.random.choice(("drain", "")))

    async def order(self, order: str) -> bool:
        op = Op(kind="drain", name=self.worker, value=order)
        path = f"workers/{self.worker}/drain"
        await self.act(op, "POST" if order else "DELETE", path)
        return op.result == OK
