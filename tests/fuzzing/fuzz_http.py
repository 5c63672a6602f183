"""Change real requests at random, send them over raw sockets, and look for what must not be.

tools/fuzz-http --requests 1000000     about half an hour
tools/fuzz-http --seed 7               what was sent by that seed, again
tools/fuzz-http --control hangs        a server with that defect: exit code 0 if it is found

Requests go many to a connection: sent ahead, so that aiohttp answers them, or each after the
answer before it, so that the lane may; some connections end in bytes that are no request any more.
What counts as a request is one that was answered. Violations are: an answer of 5xx, a connection
that the server neither answers nor closes, the server's end, a traceback in its log, memory that
grows, a client beside it all that is not served, and a job of that client's that is not there any
more, also after kill -9. What was sent on a connection with a violation is kept under
`build/fuzz-http`.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import psutil
import uvloop

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "faults"), str(HERE.parent / "trust")]

import figures  # noqa: E402  it lies there
from http_client import Http, LostError, NotSentError  # noqa: E402
from mutations import LAST, Mutator  # noqa: E402
from processes import Server, disk_dir, free_port  # noqa: E402
from recorded import of_clients, of_routes  # noqa: E402

DEFECTS: Final = ("raises", "hangs", "loses", "grows", "ends")
REQUESTS_DEFAULT: Final = 20_000
CONNECTIONS: Final = 64
AHEAD_MAX: Final = 40
TURNS_MAX: Final = 10
HANG_S: Final = 20.0
"""A connection lives for seconds only, by the deadlines of `fuzz_server`."""
KEEPER_S: Final = 0.1
PURGE_REQUESTS: Final = 20_000
WARM_SHARE: Final = 0.2
GROWTH_BYTES_MAX: Final = 48 << 20
GROWTH_BYTES_A_REQUEST: Final = 128
"""Many make documents, of which there may be 10,000 of a kind."""
VIOLATIONS_MAX: Final = 100
"""More tell nothing new."""
KEPT: Final = HERE.parents[1] / "build" / "fuzz-http"
SERVER: Final = [sys.executable, str(HERE / "fuzz_server.py")]
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([2-5]\d\d) ")
_JOB: Final = re.compile(rb'"(?:job_id|id)":"([0-9a-f-]{36})"')
_LEASE: Final = re.compile(rb'"lease":"([\w-]{54})"')
_STREAMS: Final = (b"text/event-stream", b"Transfer-Encoding: chunked")


class Talk(asyncio.Protocol):
    """One connection: sends what it is given, and counts what is answered."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        """Each is sent when there is an answer to all before."""
        self.sent = 0
        self.statuses: list[bytes] = []
        self.bad = b""
        self.streams = False
        self.came = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        if self.sent < len(self.pieces):
            self.transport.write(self.pieces[self.sent])
            self.sent += 1

    def data_received(self, data: bytes) -> None:
        self.came = (self.came + data)[-1_000_000:] if len(self.pieces) > 1 else data
        found = _STATUS.findall(data)
        self.statuses += found
        self.streams = self.streams or any(word in data for word in _STREAMS)
        if any(status >= b"500" for status in found):
            self.bad = data
        if found:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Fuzz:
    def __init__(self, server: Server, seed: int, requests: int) -> None:
        self.server = server
        self.seed = seed
        self.wanted = requests
        self.statuses: Counter[bytes] = Counter()
        self.requests = 0
        self.sent_bytes = 0
        self.violations: list[str] = []
        self.acknowledged: dict[str, str] = {}
        self._ids: list[bytes] = []
        self._number = 0
        self._process = psutil.Process(server.pid)
        self._rss_warm = 0
        self._tenant = f"keeper-{seed}"
        self._purged = 0
        self._key = ""
        self._over = False

    async def run(self) -> None:
        self._key = await self._first_key()
        corpus = [*of_routes(self._key), *await of_clients(self.server.port, self._key)]
        print(f"corpus: {len(corpus)} requests", flush=True)
        self._mutator = Mutator(random.Random(self.seed), corpus)
        keeper = asyncio.create_task(self._keep())
        await asyncio.gather(*(self._connect() for _ in range(CONNECTIONS)))
        self._over = True
        await keeper
        await self._purge()
        if not self._ended():
            grown = self._process.memory_info().rss - self._rss_warm
            print(f"memory: {grown / (1 << 20):+.0f} MiB since {WARM_SHARE:.0%}")
            if grown > GROWTH_BYTES_MAX + GROWTH_BYTES_A_REQUEST * self.requests:
                self.violation(f"memory grew by {grown >> 20} MiB")
        await self._check_jobs()

    def violation(self, told: str, sent: bytes = b"") -> None:
        self.violations.append(told)
        print(f"VIOLATION: {told}", flush=True)
        if sent:
            KEPT.mkdir(parents=True, exist_ok=True)
            file = KEPT / f"{self.seed}-{len(self.violations)}.bin"
            file.write_bytes(sent)
            print(f"    sent: {file}")

    def _ended(self) -> bool:
        return self.server.popen.poll() is not None

    # The crowd ----------------------------------------------------------------------------------

    async def _connect(self) -> None:
        while self.requests < self.wanted and len(self.violations) < VIOLATIONS_MAX:
            self._number += 1
            await self._converse(self._pieces(self._number))
            if self._ended():
                return

    def _pieces(self, number: int) -> list[bytes]:
        """Return what is sent on the connection of a number."""
        dice = random.Random(self.seed * 1_000_003 + number)
        make = self._mutator
        make.dice = dice
        kind = dice.random()
        if kind < 0.7:
            ahead = [make.parts(self._ids) for _ in range(dice.randint(1, AHEAD_MAX))]
            return [b"".join([*ahead, LAST])]
        if kind < 0.85:
            return [*(make.parts(self._ids) for _ in range(dice.randint(1, TURNS_MAX))), LAST]
        good = [make.parts(self._ids) for _ in range(dice.randint(0, 3))]
        return [b"".join([*good, make.broken(self._ids), LAST])]

    async def _converse(self, pieces: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, talk = await loop.create_connection(
                lambda: Talk(pieces), "127.0.0.1", self.server.port
            )
        except OSError as error:
            if not self._over:
                self.violation(f"no connection: {error}")
            return
        try:
            async with asyncio.timeout(HANG_S):
                await asyncio.shield(talk.ended)
        except TimeoutError:
            if not talk.streams:
                told = b" ".join(talk.statuses[-5:]).decode()
                self.violation(f"silent for {HANG_S:.0f} s after {told or 'nothing'}", pieces[0])
            talk.transport.abort()
        self.requests += len(talk.statuses)
        self.sent_bytes += sum(map(len, pieces))
        self.statuses.update(talk.statuses)
        if talk.bad:
            self.violation(f"5xx: {talk.bad[-400:]!r}", b"".join(pieces))
        if len(pieces) > 1:
            self._learn(talk.came)
        if not self._rss_warm and self.requests >= self.wanted * WARM_SHARE and not self._ended():
            self._rss_warm = self._process.memory_info().rss

    def _learn(self, came: bytes) -> None:
        """Remember ids and leases that there are."""
        self._ids += _JOB.findall(came) + _LEASE.findall(came)
        del self._ids[:-50]

    # The client beside it -----------------------------------------------------------------------

    async def _first_key(self) -> str:
        body = {"name": "fuzz", "tenant": "*", "user": "fuzz", "scopes": [*SCOPES]}
        http = Http(self.server.port)
        status, answer = await http.ask("POST", "/api/v1/keys", json.dumps(body).encode())
        http.close()
        assert status == 200, answer
        return str(json.loads(answer)["key"])

    async def _ask(self, method: str, path: str, body: Any = None, tenant: str = "") -> Any:
        """Ask as the keeper; returns the answer, or None where it is none that is good."""
        headers = f"Authorization: Bearer {self._key}\r\n"
        headers += f"X-Tenant-ID: {tenant}\r\n" if tenant else ""
        data = b"" if body is None else json.dumps(body).encode()
        http = Http(self.server.port)  # one that is kept may be closed for being idle
        try:
            status, answer = await http.ask(method, path, data, headers, HANG_S)
        except (LostError, NotSentError):
            self.violation(f"a good client got no answer to {method} {path}")
            return None
        finally:
            http.close()
        if status >= 400:
            if status >= 500:
                self.violation(f"a good client got {status}: {answer[-300:]!r}")
            return None
        return json.loads(answer)

    async def _keep(self) -> None:
        """Submit jobs that nobody else can name, until the crowd is done."""
        while not self._over and not self._ended():
            token = f"{self.seed}-{len(self.acknowledged)}"
            job = {"type": "kept", "queue": self._tenant, "delay": "300h", "params": token}
            answer = await self._ask("POST", "/api/v1/jobs", job, self._tenant)
            if answer is not None:
                self.acknowledged[answer["job_id"]] = token
            if self.requests > self._purged + PURGE_REQUESTS:
                self._purged = self.requests
                await self._purge()
                print(f"{self.requests} requests, {len(self.violations)} violations", flush=True)
            await asyncio.sleep(KEEPER_S)

    async def _purge(self) -> None:
        """Have the crowd's jobs end, so that memory tells of what is left by mistake."""
        if not self._ended():
            await self._ask("POST", "/api/v1/jobs/bulk", {"act": "cancel", "filter": {}}, "default")
            await self._ask("POST", "/api/v1/cleanup", {"older_than": "0s"})

    async def _check_jobs(self) -> None:
        """See that all that was acknowledged is there, now and after the power went."""
        for moment in ("at the end", "after kill -9"):
            if moment != "at the end" or self._ended():
                self.server = self._again()
            lost = 0
            for job_id, token in self.acknowledged.items():
                answer = await self._ask("GET", f"/api/v1/jobs/{job_id}", tenant=self._tenant)
                lost += answer is None or answer["job"]["params"] != token
            if lost:
                self.violation(f"{lost} acknowledged jobs are lost {moment}")

    def _again(self) -> Server:
        before = self.server
        if self._ended():
            self.violation(f"the server ended: {before.wait()}, {before.output()[-2_000:]}")
        before.kill()
        if "Traceback" in before.output():
            self.violation(f"in the log: {before.output()[-4_000:]}")
        return start(before.log.with_name("data"), "").wait_ready()


SCOPES: Final = ("admin", "submit", "read", "work", "impersonate")


def start(data: Path, defect: str) -> Server:
    flags = ("--disk-reserve", "0", "--log-level", "error", "--accept-any-filesystem")
    log = data.with_name("log")
    return Server(data, free_port(), *flags, command=SERVER, log=log, env={"DEFECT": defect})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--requests", type=int, default=REQUESTS_DEFAULT)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    figures.offer(parser, DEFECTS)
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.requests} requests", flush=True)
    began = time.monotonic()
    with disk_dir() as folder:
        fuzz = Fuzz(
            start(folder / "data", options.control).wait_ready(), options.seed, options.requests
        )
        try:
            uvloop.run(fuzz.run())
        finally:
            fuzz.server.kill()
    seconds = time.monotonic() - began
    count = len(fuzz.violations)
    told = ", ".join(f"{status.decode()} × {n}" for status, n in sorted(fuzz.statuses.items()))
    print(f"answers: {told}")
    print(
        f"{fuzz.requests} requests on {fuzz._number} connections, {fuzz.sent_bytes >> 20} MiB,"
        f" {len(fuzz.acknowledged)} jobs kept, {count} violations in {seconds:.0f} s"
    )
    print(f"repeat: tools/fuzz-http --seed {options.seed} --requests {options.requests}")
    if options.json is not None:
        line = {"seed": options.seed, "requests": fuzz.requests, "violations": count}
        line |= {"seconds": round(seconds, 1), "commit": figures.commit("fuzz-http")}
        options.json.write_text(json.dumps(line) + "\n")
    figures.leave(
        *(options.figures, "fuzz-http", fuzz.requests, count, options.seed, seconds),
        control=options.control,
    )
    found = count > 0
    return 0 if found == bool(options.control) else 1


if __name__ == "__main__":
    sys.exit(main())
