"""One client process of the crash campaign: submitters, workers, a nuisance and an operator, each
in a task.

    python load.py PORT HISTORY CLIENT SEED mixed|batches

The mixed load does a little of everything. The load of batches is the benchmark's W4: a hundred
jobs a request, submitted and consumed at once, as fast as it goes.

Goes on through every restart of the server. On standard input `drain` stops submits and
mischief, and a line is printed when they have stopped; `stop` ends the process when all that was
under way is answered.
"""

import asyncio
import itertools
import random
import sys
import time
import zlib
from collections import deque
from pathlib import Path
from typing import Any, Final

import msgspec
from history import FAIL, INFO, OK, Acked, Given, Op, Result, Told, Writer
from http_client import Http, LostError, NotSentError
from operator_load import BRIEF, BRIEF_S, DOOMED, HALTED, Operator

BACKLOG_MAX: Final = 400
BATCH: Final = 100
BATCHED_BACKLOG_MAX: Final = 10_000
PAUSE_S: Final = 0.02
TYPE: Final = "noop"

_encode: Final = msgspec.json.encode
_decode: Final = msgspec.json.decode


def params_of(name: str) -> dict[str, Any]:
    """The parameters that belong to a name, so that any client can tell if they changed."""
    return {"name": name, "crc": zlib.crc32(name.encode()), "pad": "p" * (len(name) * 7 % 50)}


class Shared:
    """What the tasks of one process know together."""

    def __init__(self, port: int, out: Path, client: str, seed: int) -> None:
        self.port = port
        self.type = TYPE
        self.out = Writer(out)
        self.client = client
        self.seed = seed
        self.draining = asyncio.Event()
        self.stopping = asyncio.Event()
        self.ids: deque[str] = deque(maxlen=500)
        self.old_leases: deque[str] = deque(maxlen=200)
        self.answered: set[str] = set()
        """Leases on which a report was answered: a further one must not change the result."""
        self.numbers = itertools.count(1)
        self.submitted = 0
        self.ended = 0

    def unique(self, word: str) -> str:
        return f"{word}-{self.client}-{next(self.numbers)}"


async def ask(
    http: Http, method: str, path: str, body: Any = None, headers: str = ""
) -> tuple[float, float, Result, int, Any]:
    """One request. Returns when it began and ended, what is known of it, status and answer."""
    began_s = time.monotonic()
    status, answer = 0, None
    result: Result = INFO
    try:
        raw = b"" if body is None else _encode(body)
        status, data = await http.ask(method, path, raw, headers)
        answer = _decode(data) if data else None
        told = answer if isinstance(answer, dict) else {}
        not_applied = told.get("outcome") == "not_applied" or told.get("code") == "shutting_down"
        if 200 <= status < 300:
            result = OK
        elif 400 <= status < 500 or status == 507 or not_applied:
            result = FAIL
    except NotSentError:
        result = FAIL
    except (LostError, msgspec.DecodeError):
        result = INFO
    return began_s, time.monotonic(), result, status, answer


class Submitter:
    backlog_max = BACKLOG_MAX

    def __init__(self, shared: Shared, number: int) -> None:
        self.shared = shared
        self.random = random.Random(f"{shared.seed}-{shared.client}-submit-{number}")
        self.http = Http(shared.port)
        self.user = ""

    async def run(self) -> None:
        while not self.shared.draining.is_set():
            if self.shared.submitted - self.shared.ended > self.backlog_max:
                await asyncio.sleep(PAUSE_S)
                continue
            await self.submit()
        self.http.close()

    async def submit(self) -> None:
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.random() * PAUSE_S)
        keyed = self.random.random() < 0.7
        single = self.random.random() < 0.7
        jobs = [self.job(keyed) for _ in range(1 if single else self.random.randint(2, 30))]
        headers = ""
        if single and keyed and self.random.random() < 0.5:
            headers = f"Idempotency-Key: {jobs[0].pop('idempotency_key')}\r\n"
        body = jobs[0] if single else jobs
        names = [job["name"] for job in jobs]
        while not await self.once(names, body, headers) and keyed:
            await asyncio.sleep(PAUSE_S)
        if keyed and self.random.random() < 0.05:
            await self.once(names, body, headers)
        if keyed and single and not headers and self.random.random() < 0.03:
            other = self.shared.unique("other")
            changed = {**jobs[0], "name": other, "params": params_of(other)}
            await self.once([other], changed, "")

    def job(self, keyed: bool) -> dict[str, Any]:
        name = self.shared.unique("job")
        job: dict[str, Any] = {
            "name": name,
            "type": TYPE,
            "params": params_of(name),
            "priority": self.random.randrange(10),
            "max_retries": self.random.randrange(4),
            "retry_delay": 0.05,
        }
        if keyed:
            job["idempotency_key"] = f"key-{name}"
        if self.random.random() < 0.05:
            job["delay"] = self.random.random() / 2
        if self.random.random() < 0.05:
            job["tags"] = [HALTED]
        elif not keyed and self.random.random() < 0.1:
            job["tags"] = [DOOMED]  # its name comes once, so that it is one job if it goes
        elif not keyed and self.random.random() < 0.1:
            job |= {"tags": [BRIEF], "retention": BRIEF_S}
        if self.shared.ids and self.random.random() < 0.05:
            job["after"] = self.random.sample(self.shared.ids, min(len(self.shared.ids), 3))
        return job

    async def once(self, names: list[str], body: Any, headers: str) -> bool:
        """Returns whether the answer settles the matter."""
        began_s, ended_s, result, status, answer = await ask(
            self.http, "POST", "/api/v1/jobs", body, headers
        )
        ids: list[str] = []
        if result == OK:
            items = answer if isinstance(answer, list) else [answer]
            ids = [item["job_id"] for item in items]
            self.shared.ids.extend(ids)
            self.shared.submitted += len(ids)
        op = Op(
            kind="submit",
            began_s=began_s,
            ended_s=ended_s,
            result=result,
            http=status,
            names=names,
            after={
                job["name"]: job["after"]
                for job in (body if isinstance(body, list) else [body])
                if "after" in job
            },
            tags={
                job["name"]: job["tags"][0]
                for job in (body if isinstance(body, list) else [body])
                if "tags" in job
            },
            ids=ids,
        )
        self.shared.out.add(op)
        return result == OK or (result == FAIL and 400 <= status < 500 and status != 429)


class Worker:
    """Polls, and does with each job what its dice say."""

    jobs_max: tuple[int, ...] = (1, 5, 20, 50)
    again = 0.05
    """How many reports are followed by another one that must not count."""

    def __init__(self, shared: Shared, number: int, session: bool) -> None:
        self.shared = shared
        self.random = random.Random(f"{shared.seed}-{shared.client}-work-{number}")
        self.http = Http(shared.port)
        self.number = number
        self.name = f"worker-{shared.client}-{number}"
        self.session = f"session-{self.name}" if session else ""
        self.seq = 0
        self.held: dict[str, int] = {}
        """Lease and how many more polls it is kept."""
        self.reports: list[Told] = []

    async def run(self) -> None:
        while not self.shared.stopping.is_set():
            await self.poll()
        self.http.close()

    async def poll(self) -> None:
        self.seq += 1
        reports, self.reports = self.reports, []
        jobs_max = self.random.choice(self.jobs_max)
        body: dict[str, Any] = {
            "worker": self.name,
            "serve": {"types": [TYPE]},
            "max_jobs": jobs_max,
            "wait": "0.1s",
            "reports": [report_body(told) for told in reports],
            "running": list(self.held),
        }
        if self.session:
            body |= {"session": self.session, "seq": self.seq}
        while True:
            began_s, ended_s, result, status, answer = await ask(
                self.http, "POST", "/api/v1/work/poll", body
            )
            op = Op(
                kind="poll",
                began_s=began_s,
                ended_s=ended_s,
                result=result,
                http=status,
                jobs_max=jobs_max,
                name=self.name,
                told=reports,
            )
            if result == OK:
                op.given = [given_of(one) for one in answer["jobs"]]
                op.acked = [acked_of(one) for one in answer["acks"]]
                ordered = {order.get("lease") for order in answer["control"]}
                op.running = [lease for lease in body["running"] if lease not in ordered]
            self.shared.out.add(op)
            if result == OK:
                break
            if status and 400 <= status < 500:
                raise AssertionError(f"a poll was refused: {answer}")
            await asyncio.sleep(PAUSE_S)
            if not self.session:
                # Jobs whose answer was lost come back when their lease has run out.
                self.reports = reports
                return
        self.take_acks(reports, op.acked)
        self.take_orders(answer["control"])
        await self.work([given.lease for given in op.given])

    def take_acks(self, reports: list[Told], acked: list[Acked]) -> None:
        answers = {ack.lease: ack for ack in acked}
        for told in reports:
            ack = answers.get(told.lease)
            if ack is not None and not ack.code and not told.again:
                self.shared.ended += ack.status in ("completed", "failed", "cancelled")
                if not self.shared.draining.is_set() and self.random.random() < self.again:
                    outcome = self.random.choice((told.outcome, "completed"))
                    again = Told(told.lease, outcome, self.shared.unique("again"), again=True)
                    self.reports.append(again)
            self.shared.answered.add(told.lease)
            self.shared.old_leases.append(told.lease)

    def take_orders(self, orders: list[dict[str, Any]]) -> None:
        for order in orders:
            lease = order.get("lease")
            if lease not in self.held:
                continue
            del self.held[lease]
            if order["do"] == "cancel":
                outcome = self.random.choice(("cancelled", "completed"))
                self.report(lease, outcome)
            elif order["do"] == "suspend":
                outcome = self.random.choice(("suspended", "suspended", "completed"))
                self.report(lease, outcome)
            else:
                self.shared.old_leases.append(lease)

    async def work(self, leases: list[str]) -> None:
        for lease in leases:
            self.held.setdefault(lease, self.random.choice((0, 0, 0, 0, 1, 3)))
        for lease, polls in list(self.held.items()):
            if polls:
                self.held[lease] = polls - 1
                continue
            del self.held[lease]
            dice = self.random.random()
            if self.shared.draining.is_set() or dice < 0.80:
                self.report(lease, "completed")
            elif dice < 0.85:
                await self.complete_alone(lease)
            elif dice < 0.92:
                self.report(lease, "failed")
            elif dice < 0.95:
                self.report(lease, "released")
            elif dice < 0.97:
                self.report(lease, "snoozed")
            elif dice < 0.99:
                self.shared.old_leases.append(lease)  # forgotten: it comes back as a crash
            else:
                self.held[lease] = 20

    def report(self, lease: str, outcome: str) -> None:
        self.reports.append(Told(lease, outcome, self.shared.unique("result")))

    async def complete_alone(self, lease: str) -> None:
        told = Told(lease, "completed", self.shared.unique("result"))
        await complete(self.shared, self.http, told)


async def complete(shared: Shared, http: Http, told: Told) -> None:
    """`POST /leases/{lease}/complete`, until there is an answer."""
    while True:
        began_s, ended_s, result, status, answer = await ask(
            http, "POST", f"/api/v1/leases/{told.lease}/complete", {"result": {"value": told.value}}
        )
        answered = result == OK or (result == FAIL and 400 <= status < 500)
        op = Op(kind="report", began_s=began_s, ended_s=ended_s, result=result, http=status)
        op.told = [told]
        if answered:
            op.result = OK
            code = "" if result == OK else answer["code"]
            op.acked = [Acked(told.lease, answer["status"] if result == OK else "", code)]
            shared.ended += result == OK
        shared.out.add(op)
        if answered:
            shared.answered.add(told.lease)
            return
        await asyncio.sleep(PAUSE_S)


def report_body(told: Told) -> dict[str, Any]:
    body: dict[str, Any] = {"lease": told.lease, "outcome": told.outcome}
    if told.outcome == "completed" and told.value:
        body["result"] = {"value": told.value}
    elif told.outcome == "failed":
        body |= {"error": told.value, "retry_delay": 0.05}
    elif told.outcome == "snoozed":
        body["retry_delay"] = 0.1
    return body


def given_of(work: dict[str, Any]) -> Given:
    job = work["job"]
    intact = job["params"] == params_of(job["name"])
    return Given(work["lease"], job["id"], work["attempt"], job["name"], intact)


def acked_of(ack: dict[str, Any]) -> Acked:
    if ack.get("ok"):
        return Acked(ack["lease"], ack.get("status", ""))
    return Acked(ack["lease"], code=ack["problem"]["code"])


class BatchSubmitter(Submitter):
    """Submits a hundred jobs a request, without a pause and without keys."""

    backlog_max = BATCHED_BACKLOG_MAX

    async def submit(self) -> None:
        jobs = []
        for _ in range(BATCH):
            name = self.shared.unique("job")
            jobs.append({"name": name, "type": TYPE, "params": params_of(name)})
        if not await self.once([str(job["name"]) for job in jobs], jobs, ""):
            await asyncio.sleep(PAUSE_S)


class BatchWorker(Worker):
    """Completes whatever it is given with its next poll; every second one without results."""

    jobs_max = (BATCH,)
    again = 0.0

    async def work(self, leases: list[str]) -> None:
        for lease in leases:
            value = self.shared.unique("result") if self.number % 2 else ""
            self.reports.append(Told(lease, "completed", value))


class Nuisance:
    """Cancels, reads, and reports on leases that are long over."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.random = random.Random(f"{shared.seed}-{shared.client}-nuisance")
        self.http = Http(shared.port)

    async def run(self) -> None:
        while not self.shared.draining.is_set():
            await asyncio.sleep(self.random.random() * PAUSE_S)
            dice = self.random.random()
            if dice < 0.3 and self.shared.old_leases:
                lease = self.random.choice(self.shared.old_leases)
                value = self.shared.unique("stale")
                told = Told(lease, "completed", value, again=lease in self.shared.answered)
                await complete(self.shared, self.http, told)
            elif dice < 0.5 and self.shared.ids:
                await self.touch("cancel", "POST", "/cancel")
            elif self.shared.ids:
                await self.touch("read", "GET", "")
        self.http.close()

    async def touch(self, kind: Any, method: str, path: str) -> None:
        job_id = self.random.choice(self.shared.ids)
        began_s, ended_s, result, status, answer = await ask(
            self.http, method, f"/api/v1/jobs/{job_id}{path}"
        )
        op = Op(kind=kind, began_s=began_s, ended_s=ended_s, result=result, http=status)
        op.ids = [job_id]
        if result == OK and kind == "cancel":
            op.status = answer["status"]
            self.shared.ended += op.status == "cancelled"
        elif result == OK:
            op.status = answer["job"]["status"]
            if op.status == "completed":
                op.value = answer["result"]["result"]["value"]
        self.shared.out.add(op)
        if result != OK and not status:
            await asyncio.sleep(PAUSE_S)


async def listen(shared: Shared) -> None:
    """Obey standard input; its end means stop."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line == b"drain\n":
            shared.draining.set()
        elif line == b"stop\n":
            break
    shared.draining.set()
    shared.stopping.set()


def mixed(shared: Shared) -> list[Submitter | Worker | Nuisance | Operator]:
    return [
        *(Submitter(shared, number) for number in range(3)),
        *(Worker(shared, number, session=number > 0) for number in range(3)),
        Nuisance(shared),
        Operator(shared, ask),
    ]


def batches(shared: Shared) -> list[Submitter | Worker | Nuisance | Operator]:
    return [
        *(BatchSubmitter(shared, number) for number in range(2)),
        *(BatchWorker(shared, number, session=False) for number in range(4)),
    ]


LOADS: Final = {"mixed": mixed, "batches": batches}


async def main(port: int, out: Path, client: str, seed: int, load: str) -> None:
    shared = Shared(port, out, client, seed)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(shared))
        making = []
        for one in LOADS[load](shared):
            task = tasks.create_task(one.run())
            if not isinstance(one, Worker):
                making.append(task)
        await asyncio.wait(making)
        print("drained", flush=True)
    shared.out.close()


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5])
    )
