"""Random load on a server with limits and quotas, kill -9 in the middle, watched from the workers.

    tools/limits --seconds 60

A worker has a job for sure from the answer that brought it to the request that reports it, and the
server gave it out between the request and that answer. By these moments alone it is checked that no
limit was ever exceeded, the restart included. That limits were reached is told, too.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))
sys.path.insert(0, str(Path(__file__).parent))

import figures
from http_client import Http, LostError, NotSentError
from processes import LYING, Server, disk_dir, free_port

SECONDS_DEFAULT: Final = 6.0
DEFECTS: Final = (
    *("limits-ignored", "bytes-ignored"),
    *("rates-full-after-a-start", "leases-forgotten-at-a-start"),
)
TENANTS: Final = ("acme", "beta")
TYPES: Final = ("few", "paced", "spaced", "free")
OUTCOMES: Final = ("completed",) * 8 + ("released", "failed")
WORKERS: Final = 5
PACED_STARTS: Final = 12
PACED_MS: Final = 1_000
SPACED_STARTS: Final = 20
SPACED_MS: Final = 20_000
"""Longer than a restart takes."""
FEW: Final = 3
NIGHTLY: Final = 2
SLOW_CAPACITY: Final = 2
SLOW_BACKLOG: Final = 40
ACME_JOBS: Final = 80
ACME_RUNNING: Final = 6
ACME_MEMORY_MB: Final = 1_000
BETA_BYTES: Final = 60_000
PAD_CHARS: Final = 6_000
SPEC_BYTES: Final = 250
"""Of any job beside its padding, at least."""
DOCUMENTS: Final = {
    "limits/few": {"type": "few", "concurrency": FEW},
    "limits/paced": {"type": "paced", "rate": {"starts": PACED_STARTS, "per": PACED_MS / 1_000}},
    "limits/spaced": {"type": "spaced", "rate": {"starts": SPACED_STARTS, "per": "20s"}},
    "limits/nightly": {"tag": "nightly", "concurrency": NIGHTLY},
    "tenants/acme": {
        "jobs_max": ACME_JOBS,
        "running_max": {"jobs": ACME_RUNNING, "memory_mb": ACME_MEMORY_MB},
    },
    "tenants/beta": {"bytes_max": BETA_BYTES},
    "queues/slow": {"capacity": SLOW_CAPACITY, "backlog_max": SLOW_BACKLOG},
}


class Seen(msgspec.Struct):
    """One attempt, as its worker saw it. Seconds of this process."""

    job: dict[str, Any]
    asked_s: float
    got_s: float
    reported_s: float = float("inf")


class Load:
    def __init__(self, port: int, seed: int, keys: dict[str, str]) -> None:
        self._port = port
        self._dice = random.Random(seed)
        self._keys = keys
        self.ending = False
        self.seen: list[Seen] = []
        self.taken: dict[str, tuple[float, dict[str, Any]]] = {}
        """When the answer came that a job was taken, by id."""
        self.ended: dict[str, float] = {}
        """When the report of its end was sent, by id."""
        self.counts: Counter[str] = Counter()

    async def _ask(
        self, http: Http, key: str, path: str, body: Any, seconds: float = 20.0
    ) -> tuple[int, Any] | None:
        headers = f"Authorization: Bearer {self._keys[key]}\r\n"
        try:
            status, data = await http.ask("POST", path, json.dumps(body).encode(), headers, seconds)
        except (NotSentError, LostError):
            self.counts["lost"] += 1
            await asyncio.sleep(0.05)
            return None
        return status, json.loads(data)

    async def client(self, tenant: str) -> None:
        """Submit batches of all kinds; back off when told so."""
        http, dice = Http(self._port), self._dice
        while not self.ending:
            jobs = []
            for _ in range(dice.randint(1, 8)):
                params = {"pad": "x" * dice.randint(0, PAD_CHARS)}
                job: dict[str, Any] = {"type": dice.choice(TYPES), "params": params}
                if dice.random() < 0.3:
                    job["tags"] = ["nightly"]
                if dice.random() < 0.3:
                    job["queue"] = "slow"
                if dice.random() < 0.6:
                    job["requirements"] = {"memory_mb": dice.choice((100, 250, 400))}
                jobs.append(job)
            told = await self._ask(http, tenant, "/api/v1/jobs", jobs)
            if told is not None and told[0] == 200:
                self.counts["submitted"] += len(jobs)
                for job, answer in zip(jobs, told[1], strict=True):
                    job["tenant"] = tenant
                    self.taken[answer["job_id"]] = time.monotonic(), job
            elif told is not None:
                assert told[0] == 429, told
                self.counts[told[1]["code"]] += 1
            await asyncio.sleep(dice.uniform(0, 0.02 if told and told[0] == 200 else 0.2))
        http.close()

    async def worker(self, number: int) -> None:
        """Take what comes, hold it for a moment, report it; keep it over a restart."""
        http, dice = Http(self._port), self._dice
        held: dict[str, tuple[Seen, float]] = {}
        seq = 0
        while not self.ending or held:
            now_s = time.monotonic()
            due = [lease for lease, (_, end_s) in held.items() if end_s <= now_s or self.ending]
            reports = [
                {
                    "lease": lease,
                    "outcome": dice.choice(("completed",) * 8 + ("released", "failed")),
                }
                for lease in due
            ]
            for report in reports:
                seen = held[report["lease"]][0]
                seen.reported_s = min(seen.reported_s, now_s)
                self.ended.setdefault(seen.job["id"], now_s)
            seq += 1
            body = {
                "worker": f"w{number}",
                "session": f"s{number}",
                "seq": seq,
                "max_jobs": 0 if self.ending else dice.randint(1, 6),
                "free": {"memory_mb": 100_000},
                "wait": dice.choice((0, 0, 0.02)),
                "running": [lease for lease in held if lease not in due],
                "reports": reports,
            }
            told = None
            while told is None:
                asked_s = time.monotonic()
                told = await self._ask(http, "root", "/api/v1/work/poll", body)
            got_s = time.monotonic()
            assert told[0] == 200, told
            for lease in due:
                del held[lease]
            for given in told[1]["jobs"]:
                seen = Seen(given["job"], asked_s, got_s)
                self.seen.append(seen)
                held[given["lease"]] = seen, got_s + dice.uniform(0.005, 0.15)
                self.counts["given"] += 1
            await asyncio.sleep(dice.uniform(0, 0.02))
        http.close()


# Checks -----------------------------------------------------------------------------------------


def peak(seen: list[Seen], amount: Callable[[Seen], float]) -> float:
    """Return the most that was held at once, for sure."""
    steps = [
        step
        for one in seen
        if one.got_s < one.reported_s
        for step in ((one.got_s, amount(one)), (one.reported_s, -amount(one)))
    ]
    most = now = 0.0
    for _, change in sorted(steps):
        now += change
        most = max(most, now)
    return most


def busiest(seen: list[Seen], span_s: float) -> int:
    """Return the most attempts that were given out within some span, for sure."""
    most = 0
    for first in seen:
        end_s = first.asked_s + span_s
        within = sum(first.asked_s <= one.asked_s and one.got_s < end_s for one in seen)
        most = max(most, within)
    return most


class Outcome(msgspec.Struct):
    found: list[str]
    """What was exceeded."""
    peaks: dict[str, tuple[float, float]]
    """The most that was seen of each limit, and the limit."""
    counts: dict[str, int]
    seconds: float


def judge(load: Load, seconds: float) -> Outcome:
    def of(**wanted: str) -> list[Seen]:
        return [one for one in load.seen if all(one.job.get(k) == v for k, v in wanted.items())]

    def memory(one: Seen) -> float:
        return float(one.job.get("requirements", {}).get("memory_mb", 0))

    def one(_: Seen) -> float:
        return 1.0

    acme = of(tenant="acme")
    live = [
        Seen(job, taken_s, taken_s, load.ended.get(job_id, float("inf")))
        for job_id, (taken_s, job) in load.taken.items()
    ]
    of_acme, of_beta = ([one for one in live if one.job["tenant"] == tenant] for tenant in TENANTS)

    def payload(one: Seen) -> float:
        return float(SPEC_BYTES + len(one.job["params"]["pad"]))

    tagged = [seen for seen in load.seen if "nightly" in seen.job.get("tags", [])]
    peaks = {
        "concurrency of type few": (peak(of(type="few"), one), FEW),
        "concurrency of tag nightly": (peak(tagged, one), NIGHTLY),
        "capacity of queue slow": (peak(of(queue="slow"), one), SLOW_CAPACITY),
        "running jobs of acme": (peak(acme, one), ACME_RUNNING),
        "running memory of acme": (peak(acme, memory), ACME_MEMORY_MB),
        "live jobs of acme": (peak(of_acme, one), ACME_JOBS),
        "bytes of live jobs of beta": (peak(of_beta, payload), BETA_BYTES),
        "starts of type paced": (busiest(of(type="paced"), PACED_MS / 1_000), PACED_STARTS),
        "starts of type spaced": (busiest(of(type="spaced"), SPACED_MS / 1_000), SPACED_STARTS),
    }
    found = [f"{name}: {seen:g} of {most}" for name, (seen, most) in peaks.items() if seen > most]
    return Outcome(found, peaks, dict(load.counts), seconds)


# A run ------------------------------------------------------------------------------------------


def run(seconds: float, seed: int, base: Path, defect: str = "") -> Outcome:
    """Load a server for so long, with a kill -9 in the middle."""
    port = free_port()
    data = base / f"limits-{seed}-{defect or 'sound'}"

    def start() -> Server:
        flags = ("--lease", "30s")
        if defect:
            env = {"DEFECT": defect}
            return Server(data, port, *flags, command=LYING, env=env).wait_ready()
        return Server(data, port, *flags).wait_ready()

    server = start()
    try:
        load = Load(port, seed, set_up(server))
        began_s = time.monotonic()

        def killed() -> Server:
            server.kill()
            return start()

        async def whole() -> Server:
            everybody = [asyncio.create_task(load.client(tenant)) for tenant in TENANTS * 2]
            everybody += [asyncio.create_task(load.worker(number)) for number in range(WORKERS)]
            await asyncio.sleep(seconds / 2)
            later = await asyncio.to_thread(killed)
            await asyncio.sleep(seconds / 2)
            load.ending = True
            await asyncio.gather(*everybody)
            return later

        server = asyncio.run(whole())
        return judge(load, time.monotonic() - began_s)
    finally:
        server.kill()


def set_up(server: Server) -> dict[str, str]:
    """Set the limits; return keys by tenant, and one for all as `root`."""
    keys: dict[str, str] = {}
    headers: dict[str, str] = {}
    for name, tenant, scopes in (
        ("root", "*", ["admin", "work", "submit", "read"]),
        *((tenant, tenant, ["submit", "read"]) for tenant in TENANTS),
    ):
        body = {"tenant": tenant, "scopes": scopes}
        status, made = server.ask("POST", "/api/v1/keys", body, headers=headers)
        assert status in (200, 201), made
        keys[name] = made["key"]
        headers = {"Authorization": f"Bearer {keys['root']}"}
    for name, document in DOCUMENTS.items():
        status, told = server.ask("PUT", f"/api/v1/{name}", document, headers=headers)
        assert status == 200, told
    return keys


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/limits", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS_DEFAULT)
    parser.add_argument("--seed", type=int, default=1, help="repeats the dice, not the timing")
    figures.offer(parser, DEFECTS)
    arguments = parser.parse_args()
    with disk_dir() as base:
        outcome = run(arguments.seconds, arguments.seed, base, arguments.control)
    print(f"{outcome.seconds:.1f} s, {outcome.counts}")
    for name, (seen, most) in outcome.peaks.items():
        print(f"{name:<28}{seen:>8g} of {most:g}")
    for found in outcome.found:
        print("EXCEEDED", found)
    told = (round(outcome.seconds), len(outcome.found), arguments.seed, outcome.seconds)
    figures.leave(arguments.figures, "limits", *told, control=arguments.control)
    return int(bool(outcome.found) != bool(arguments.control))


if __name__ == "__main__":
    sys.exit(main())
