"""Kill the server again and again under load, and check what clients saw against what it kept.

A cycle: serve for a random moment, kill -9, start again; the clients never stop. After the last
start everything is drained and the whole store is read. What befalls the server in place of a kill
is said by a `Ground`.
"""

import asyncio
import itertools
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from checker import Checker, Counts, Violation, summary
from forked import Forked, prepare
from history import Final, read
from http_client import Http
from load import params_of
from operator_load import BRIEF, BRIEF_S, FIELD_OF, WEIGHT_DEFAULT
from processes import LYING, Server, free_port

CLIENTS = 2
LEASE_S = 2
FLAGS = (
    *("--lease", f"{LEASE_S}s", "--retention", "12h", "--cleanup-every", "500ms"),
    *("--webhook-http", "--webhook-ports", "0", "--webhook-allow-networks", "127.0.0.0/8"),
)
NOTHING_GOES = ("--cleanup-every", "1h")
SERVE_S = (0.05, 1.0)
SPANS_S = ((0.02, 0.3), (0.3, 0.8), (0.8, 2.0))
SPANS_WEIGHTS = (6, 3, 1)
"""From ready to a kill: mostly a moment, now and then long enough for all that comes in turn."""
START_S, START_S_FORKED = 0.5, 0.05
DRAIN_S_MAX = 90.0
EARLY_KILLS = 0.1
"""So many of the starts are killed before the server has answered once."""
NEW_EACH = 4
"""Of so many servers one is not forked, even if others may be."""
CONTROL_CYCLES = 10
"""Within which a server with a defect must be found out."""
DEFECTS = {
    "ack-before-commit": {"acked_submit_lost", "attempt_given_twice", "attempts_without_delivery"},
    "stale-lease": {"stale_lease_accepted", "two_terminal_records"},
    "keys-forgotten": {"two_jobs_for_one_key"},
}
"""And the rules of which one at least must name it."""
DEFECTS_BELOW = {
    "errors-ignored": {"acked_submit_lost", "acked_end_lost"},
    "leases-by-wall": {"lease_ended_early", "end_without_cause"},
}
"""Those that only a disk shows that fails, or a clock that jumps."""
LIST_CONNECTIONS = 8
LIVE = "initializing,scheduled,queued,resuming,locked,running,suspending,suspended,canceling"


class Report(msgspec.Struct):
    seed: int
    cycles: int
    counts: Counts
    violations: list[Violation]
    seconds: float
    ready_s: list[float]
    """From each start that was left alone to the first answer."""


class Ground:
    """Where a server's data lies, how it begins, and how it is torn out of its work. This one: by a
    kill."""

    keeps_time = True
    """Jobs are kept by the wall clock: where it jumps, none goes in time, and to the last server
    none goes, since it could be while the store is read."""

    def __init__(self, dir_: Path) -> None:
        self.data = dir_ / "data"

    def prefix(self) -> tuple[str, ...]:
        """Return words to put before the command of the next server."""
        return ()

    def life(self, server: Server, dice: random.Random) -> float | None:
        """Let a server live, and end it. Returns how many seconds it took to be ready, if any."""
        ready_s = None
        if dice.random() < EARLY_KILLS:
            start_s = START_S_FORKED if isinstance(server.popen, Forked) else START_S
            time.sleep(dice.random() * start_s)
        else:
            began_s = time.monotonic()
            server.wait_ready()
            ready_s = time.monotonic() - began_s
            time.sleep(dice.uniform(*dice.choices(SPANS_S, SPANS_WEIGHTS)[0]))
        self.strike(server)
        return ready_s

    def strike(self, server: Server) -> None:
        server.kill()

    def violations(self) -> list[Violation]:
        """Return what was wrong with the lives of servers, whatever clients saw."""
        return []

    def remove(self) -> None:
        """Give back what the system lent for it; files go with the campaign's directory."""


class Clients:
    """The load processes, and how they are told."""

    def __init__(self, port: int, dir_: Path, seed: int, kind: str) -> None:
        self.histories = [dir_ / f"history-{number}.jsonl" for number in range(CLIENTS)]
        load = Path(__file__).with_name("load.py")
        self._children = [
            subprocess.Popen(
                [sys.executable, str(load), str(port), str(path), str(number), str(seed), kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for number, path in enumerate(self.histories)
        ]

    def tell(self, word: str) -> None:
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(word.encode() + b"\n")
            child.stdin.flush()

    def drain(self) -> None:
        """Have them make no more jobs and mischief; return when they do not."""
        self.tell("drain")
        for child in self._children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"drained\n", "a client ended"

    def check(self) -> None:
        for child in self._children:
            if child.poll() is not None:
                raise AssertionError(f"a client ended with {child.returncode}")

    def stop(self) -> None:
        self.tell("stop")
        for child in self._children:
            assert child.wait(30) == 0, "a client did not end well"

    def kill(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()


def run(
    cycles: int,
    seed: int,
    base: Path,
    *,
    load: str = "mixed",
    defect: str = "",
    ground_of: Callable[[Path], Ground] = Ground,
    forks: bool = False,
) -> Report:
    """A whole campaign in a new directory below `base`, which stays if something is found.

    `forks`: most servers are forked from this process (`forked.py`), which has no threads.
    """
    began_s = time.monotonic()
    dice = random.Random(seed)
    dir_ = Path(tempfile.mkdtemp(prefix="crash-", dir=base))
    port = free_port()
    ground = ground_of(dir_)
    ready_s: list[float] = []

    if forks:
        prepare()
    starts = itertools.count()

    def start(prefix: tuple[str, ...] = (), *, last: bool = False) -> Server:
        whole = last or bool(prefix or defect) or next(starts) % NEW_EACH == 0
        command, env = (LYING, {"DEFECT": defect}) if defect else (None, None)
        log = dir_ / "server.log"
        flags = FLAGS if ground.keeps_time or not last else (*FLAGS, *NOTHING_GOES)
        return Server(
            *(ground.data, port, *flags),
            command=command,
            env=env,
            log=log,
            prefix=prefix,
            is_forked=forks and not whole,
        )

    server = start(ground.prefix())
    clients = Clients(port, dir_, seed, load)
    try:
        for cycle in range(cycles):
            took_s = ground.life(server, dice)
            if took_s is not None:
                ready_s.append(took_s)
            clients.check()
            last = cycle == cycles - 1
            server = start(() if last else ground.prefix(), last=last)
        server.wait_ready()
        clients.drain()
        freed_s = time.monotonic()
        live = asyncio.run(drained(port))
        clients.stop()
        left = asyncio.run(brief_gone(port)) if ground.keeps_time else 0
        store = asyncio.run(whole_store(port))
        checker = Checker()
        checker.freed_s = freed_s
        checker.lease_s = LEASE_S
        checker.feed(read(clients.histories))
        others = asyncio.run(beside_jobs(port, checker.names()))
        exit_code = server.terminate()
        checker.finish(store)
        violations = checker.finish_others(*others, store) + ground.violations()
        if live:
            violations.append(Violation("not_drained", "", f"{live} jobs after {DRAIN_S_MAX} s"))
        if left:
            violations.append(Violation("kept_too_long", "", f"{left} jobs of {BRIEF_S} s"))
        if exit_code != 0:
            violations.append(Violation("exit_code", "", f"{exit_code} after SIGTERM"))
    finally:
        clients.kill()
        server.kill()
        ground.remove()
    if defect or not violations:
        shutil.rmtree(dir_)
    seconds = time.monotonic() - began_s
    return Report(seed, cycles, checker.counts, violations, seconds, ready_s)


async def ask(http: Http, path: str) -> Any:
    status, data = await http.ask("GET", path)
    if status != 200:
        raise AssertionError(f"{path}: {status} {data[:300]!r}")
    return msgspec.json.decode(data)


async def drained(port: int) -> int:
    """Resume what is suspended, and wait until no job is live. Returns how many are when the time
    is over."""

    async def resumed(http: Http) -> int:
        live = 0
        async for job in listed(http, f"status={LIVE}"):
            live += 1
            if job["status"] == "suspended":
                await http.ask("POST", f"/api/v1/jobs/{job['id']}/resume")
        return live

    return await none_left(port, resumed)


async def brief_gone(port: int) -> int:
    """Wait until all jobs are gone that are kept for a moment only. Returns how many are not when
    the time is over."""

    async def there(http: Http) -> int:
        return len([job async for job in listed(http, f"tag={BRIEF}")])

    return await none_left(port, there)


async def none_left(port: int, count: Callable[[Http], Awaitable[int]]) -> int:
    http = Http(port)
    due_s = time.monotonic() + DRAIN_S_MAX
    while (left := await count(http)) and time.monotonic() < due_s:
        await asyncio.sleep(0.1)
    http.close()
    return left


async def listed(http: Http, query: str) -> AsyncIterator[Any]:
    cursor = ""
    while True:
        page = await ask(http, f"/api/v1/jobs?{query}&limit=1000{cursor}")
        for job in page["jobs"]:
            yield job
        if page["next"] is None:
            return
        cursor = f"&cursor={page['next']}"


async def beside_jobs(
    port: int, names: list[str]
) -> tuple[dict[str, str], dict[str, str], dict[str, Counter[tuple[str, str]]]]:
    """What documents say, how far acts on many jobs are, and what waits for webhooks."""
    http = Http(port)
    documents: dict[str, str] = {}
    for name in names:
        status, data = await http.ask("GET", f"/api/v1/{name}")
        told = msgspec.json.decode(data)
        value = None if status == 404 else told[FIELD_OF[name.split("/")[0]]]
        documents[name] = "" if value in (None, WEIGHT_DEFAULT) else str(value)
    bulks = await bulks_over(http)
    deliveries: dict[str, Counter[tuple[str, str]]] = {}
    for webhook in (await ask(http, "/api/v1/webhooks?limit=1000"))["webhooks"]:
        sent = deliveries[webhook["id"]] = Counter()
        path = after = f"/api/v1/webhooks/{webhook['id']}/deliveries?limit=1000"
        while after:
            page = await ask(http, after)
            sent.update((one["event"], one["job_id"]) for one in page["deliveries"])
            after = page["next"] and f"{path}&after={quote(page['next'])}"
    http.close()
    return documents, bulks, deliveries


async def bulks_over(http: Http) -> dict[str, str]:
    """Wait until acts on many jobs are over, which go on after a start; return their states."""
    due_s = time.monotonic() + DRAIN_S_MAX
    while True:
        told = await ask(http, "/api/v1/bulk?limit=1000")
        bulks = {bulk["id"]: bulk["state"] for bulk in told["bulks"]}
        if "running" not in bulks.values() or time.monotonic() > due_s:
            return bulks
        await asyncio.sleep(0.1)


async def whole_store(port: int) -> list[Final]:
    """Every job by the list, and how each ended by its result, when no bulk act runs any more."""
    http = Http(port)
    await bulks_over(http)
    finals = [final_of(job) async for job in listed(http, "order=created_at")]
    http.close()
    ended = iter([final for final in finals if final.status in ("completed", "failed")])
    async with asyncio.TaskGroup() as tasks:
        for _ in range(LIST_CONNECTIONS):
            tasks.create_task(fill_results(port, ended))
    return finals


def final_of(job: dict[str, Any]) -> Final:
    return Final(
        job["id"],
        job["name"],
        job["status"],
        job["attempt"],
        job["failures"],
        job["crashes"],
        intact=job["params"] == params_of(job["name"]),
    )


async def fill_results(port: int, finals: Iterator[Final]) -> None:
    http = Http(port)
    for final in finals:
        result = await ask(http, f"/api/v1/jobs/{final.job_id}/result")
        assert result["status"] == final.status, "two readers disagree on a finished job"
        final.code = result.get("code") or ""
        if final.status == "completed" and result["result"] is not None:
            final.value = result["result"]["value"]
    http.close()


def show(report: Report, what: str = "kills") -> None:
    counts = report.counts
    print(
        f"{report.cycles} {what}: {counts.jobs_acked} jobs acknowledged,"
        f" {counts.jobs_stored} in the store; {counts.deliveries} deliveries;"
        f" {counts.reports_acked} reports acknowledged, {counts.reports_refused} refused as stale"
        f" or repeated; {counts.replays} submits repeated;"
        f" {counts.unknown} of {counts.ops} operations without an answer"
    )
    if counts.acts:
        acts = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.acts.items()))
        print(f"acts acknowledged: {acts}; {counts.webhook_deliveries} webhook deliveries")
    if report.ready_s:
        ordered = sorted(report.ready_s)
        print(
            f"start to first answer: median {ordered[len(ordered) // 2]:.2f} s,"
            f" longest {ordered[-1]:.2f} s"
        )
    print(
        f"{len(report.violations)} violations, seed {report.seed}, {report.seconds:.0f} s",
        flush=True,
    )
    for line in summary(report.violations):
        print(line)


def control(
    defect: str,
    cycles: int,
    seed: int,
    base: Path,
    ground_of: Callable[[Path], Ground] = Ground,
    *,
    load: str = "mixed",
) -> tuple[bool, Report]:
    """Run a lying server in short campaigns. Returns whether it was found out by its own rule."""
    rules = (DEFECTS | DEFECTS_BELOW)[defect]
    report = run(1, seed, base, load=load, defect=defect, ground_of=ground_of)
    while True:
        found = {violation.rule for violation in report.violations} & rules
        if found or report.cycles >= cycles:
            return bool(found), report
        more = run(1, seed + report.cycles, base, load=load, defect=defect, ground_of=ground_of)
        report = msgspec.structs.replace(
            more, seed=seed, cycles=report.cycles + 1, seconds=report.seconds + more.seconds
        )
