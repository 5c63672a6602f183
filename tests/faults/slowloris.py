"""Thousands of connections that take their time, beside one client that is served as ever.

tools/slowloris                          4 kinds × 5,000 connections, some minutes
tools/slowloris --connections 200 --patience-ms 1000    a server with short deadlines, some seconds
tools/slowloris --control                deadlines off: exit code 0 if that is found

Kinds: `header`, a byte of a header now and then; `body`, the same of a body; `idle`, nothing after
an answer; `reader`, answers that nobody reads. Of each kind, all at once: the server must be rid of
them by its deadlines, hold no more than a descriptor and some memory for each meanwhile, and serve
the other client within twice its usual time (told always, held only at length).
"""

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import resource
import socket
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import psutil

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "trust")]

import figures  # noqa: E402  it lies there
import patience  # noqa: E402
from processes import Server, disk_dir, free_port  # noqa: E402

from headrace.http import deadlines  # noqa: E402
from headrace.wire import limits  # noqa: E402

KINDS: Final = ("header", "body", "idle", "reader")
CONNECTIONS: Final = 5_000
AT_LENGTH: Final = 1_000
"""With so many connections, the other client's time is held to its bound."""
DRIP_S: Final = 0.5
SLACK_S: Final = 30.0
"""A machine with other work to do."""
CONTROL_SLACK_S: Final = 3.0
USUAL_S: Final = 3.0
USUAL_TIMES: Final = 2
USUAL_MS_MORE: Final = 25
SPARE_FDS: Final = 64
CONNECTION_BYTES: Final = 96 << 10
"""Of the server's memory, for each connection that is read from, or idle."""
GROWTH_BYTES: Final = 64 << 20
UNREAD_TIMES: Final = 2
"""An answer, and what it was made of."""
PATIENCE_OFF_MS: Final = 10**8
SERVER: Final = [sys.executable, str(Path(__file__).with_name("patience.py"))]
READERS_OF_MANY: Final = 2
ASKED: Final = 12
"""Answers, one after the other, of every second such reader: more than a system keeps for it."""
LARGE: Final = (200_000, 50_000)
"""Characters of two jobs that are asked for and not read."""


class Attack:
    """One kind of slow clients."""

    def __init__(self, kind: str, port: int, jobs: list[str]) -> None:
        self.kind = kind
        self._port = port
        self._jobs = jobs
        self.sockets: list[socket.socket] = []

    def begin(self, number: int) -> None:
        for n in range(number):
            one = socket.socket()
            if self.kind == "reader":
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            one.connect(("127.0.0.1", self._port))
            self.sockets.append(one)
            one.sendall(self._opening(n))

    def _opening(self, n: int) -> bytes:
        host = b"Host: localhost\r\n"
        post = b"POST /api/v1/jobs HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
        if self.kind == "header":
            return b"GET /livez HTTP/1.1\r\n" + host + b"X-Slow: "
        if self.kind == "body":
            framing = b"Content-Length: 60000" if n % 2 else b"Transfer-Encoding: chunked"
            return post + framing + b"\r\n\r\n" + (b" " if n % 2 else b"ea60\r\n ")
        if self.kind == "idle":
            whole = post + b'Content-Length: 12\r\n\r\n{"type":"t"}'
            return whole if n % 2 else b"GET /livez HTTP/1.1\r\n" + host + b"\r\n"
        targets = ["/openapi.json", *(f"/api/v1/jobs/{job}" for job in self._jobs)]
        asked = f"GET {targets[n % len(targets)]} HTTP/1.1\r\n".encode() + host + b"\r\n"
        return asked * (1 if n % READERS_OF_MANY else ASKED)

    def drip(self) -> None:
        if self.kind in ("header", "body"):
            for one in self.sockets:
                with contextlib.suppress(OSError):
                    one.send(b" ", socket.MSG_DONTWAIT)

    def end(self) -> None:
        for one in self.sockets:
            one.close()


def due_s(kind: str, patience_ms: int) -> float:
    """Return when the last of a kind must be gone."""

    def of(ms: float) -> float:
        return (patience_ms or ms) / 1_000

    linger_s = of(deadlines.LINGER_S * 1_000)
    rate = patience.BYTES_PER_S if patience_ms else limits.BODY_BYTES_PER_S_MIN
    return {
        "header": of(limits.HEADER_MS_MAX) + linger_s,
        "body": of(limits.BODY_MS_BASE) + 60_000 / rate + linger_s,
        "idle": of(limits.IDLE_MS_MAX),
        # Small ones fill no buffer: they are idle, then closed, and their rest is not waited for.
        "reader": max(
            of(limits.UNREAD_MS_BASE) + 1_000_000 / rate,
            of(limits.IDLE_MS_MAX) + 2 * of(deadlines.CLOSING_S * 1_000),
        ),
    }[kind]


def good_client(port: int, ours: Connection) -> None:
    """Submit one job after the other; whenever asked, tell how long each took since."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    took_ms: list[float] = []
    failed = 0
    while True:
        if ours.poll():
            if ours.recv() == "end":
                return
            ours.send((took_ms, failed))
            took_ms, failed = [], 0
        began = time.perf_counter()
        try:
            body = b'{"type":"good"}'
            connection.request("POST", "/api/v1/jobs", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            failed += answer.status != 200
        except OSError:
            failed += 1
            connection.close()
        took_ms.append((time.perf_counter() - began) * 1_000)
        time.sleep(0.002)


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else float("inf")


class Run:
    def __init__(self, server: Server, number: int, patience_ms: int, slack_s: float) -> None:
        self.server = server
        self._slack_s = slack_s
        self._number = number
        self._patience_ms = patience_ms
        self._process = psutil.Process(server.pid)
        self.violations: list[str] = []
        self.jobs = [server.submit(type="large", params="x" * size, delay="300h") for size in LARGE]
        self._theirs, ours = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self._client = context.Process(target=good_client, args=(server.port, ours), daemon=True)
        self._client.start()
        time.sleep(USUAL_S if number >= AT_LENGTH else USUAL_S / 6)
        self._usual_ms = p99(self._told()[0])
        print(f"alone: p99 {self._usual_ms:.1f} ms", flush=True)
        self._open = self._process.num_fds()

    def _told(self) -> tuple[list[float], int]:
        self._theirs.send("tell")
        told: tuple[list[float], int] = self._theirs.recv()
        return told

    def attack(self, kind: str) -> None:
        before = self._process.memory_info().rss
        self._told()
        attack = Attack(kind, self.server.port, self.jobs)
        began = time.monotonic()
        attack.begin(self._number)
        opened_s = time.monotonic() - began
        most_fds = most_bytes = 0
        least_s = (self._patience_ms or limits.HEADER_MS_MAX) / 1_000
        due = time.monotonic() + due_s(kind, self._patience_ms) + self._slack_s
        while True:
            now_fds = self._process.num_fds()
            most_fds = max(most_fds, now_fds)
            most_bytes = max(most_bytes, self._process.memory_info().rss - before)
            was_all_there = time.monotonic() - began > least_s
            if (was_all_there and now_fds <= self._open) or time.monotonic() > due:
                break
            attack.drip()
            time.sleep(DRIP_S)
        took_s = time.monotonic() - began
        left = max(0, self._process.num_fds() - self._open)
        took_ms, failed = self._told()
        attack.end()
        print(
            f"{kind}: {self._number} connections, opened in {opened_s:.1f} s, gone in"
            f" {took_s:.1f} s, {left} left; at most {most_fds} descriptors,"
            f" {most_bytes / (1 << 20):+.0f} MiB;"
            f" the other client: {len(took_ms)} served, {failed} not, p99 {p99(took_ms):.1f} ms",
            flush=True,
        )
        self._check(kind, left, most_fds, most_bytes)
        if failed:
            self._violation(f"{kind}: {failed} requests of the other client failed")
        bound_ms = self._usual_ms * USUAL_TIMES + USUAL_MS_MORE
        if self._number >= AT_LENGTH and p99(took_ms) > bound_ms:
            self._violation(f"{kind}: p99 of the other client is beyond {bound_ms:.1f} ms")

    def _check(self, kind: str, left: int, most_fds: int, most_bytes: int) -> None:
        if left:
            self._violation(f"{kind}: {left} connections outlive their deadline")
        if most_fds > self._open + self._number + SPARE_FDS:
            self._violation(f"{kind}: {most_fds} descriptors")
        most = GROWTH_BYTES + CONNECTION_BYTES * self._number
        if kind == "reader":
            most += min(UNREAD_TIMES * deadlines.UNREAD_BYTES_MAX, self._number * LARGE[0])
        if most_bytes > most:
            self._violation(f"{kind}: {most_bytes >> 20} MiB")

    def _violation(self, told: str) -> None:
        self.violations.append(told)
        print(f"VIOLATION: {told}", flush=True)

    def end(self) -> None:
        self._theirs.send("end")
        self._client.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="of each kind")
    parser.add_argument("--amount", type=int, help="of all kinds together")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--patience-ms", type=int, default=0, help="of the server; 0: as it ships")
    parser.add_argument("--control", action="store_true", help="a server without deadlines")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    figures.offer(parser)
    options = parser.parse_args()
    if options.amount is not None:
        options.connections = options.amount // len(options.kinds)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    began = time.monotonic()
    patience_ms = PATIENCE_OFF_MS if options.control else options.patience_ms
    env = {"PATIENCE_MS": str(patience_ms)} if patience_ms else {"PATIENCE_MS": ""}
    with disk_dir() as folder:
        flags = ("--disk-reserve", "0", "--log-level", "warning", "--accept-any-filesystem")
        server = Server(folder / "data", free_port(), *flags, command=SERVER, env=env)
        try:
            slack_s = CONTROL_SLACK_S if options.control else SLACK_S
            run = Run(server.wait_ready(), options.connections, options.patience_ms, slack_s)
            for kind in options.kinds:
                run.attack(kind)
            run.end()
        finally:
            server.kill()
    seconds = time.monotonic() - began
    count = len(run.violations)
    amount = options.connections * len(options.kinds)
    print(f"{amount} slow connections, {count} violations in {seconds:.0f} s")
    if options.json is not None:
        line = {"seed": 0, "connections": amount, "violations": count}
        line |= {"seconds": round(seconds, 1), "commit": figures.commit("slowloris")}
        options.json.write_text(json.dumps(line) + "\n")
    control = "deadlines-off" if options.control else ""
    figures.leave(options.figures, "slowloris", amount, count, 0, seconds, control=control)
    return 0 if (count > 0) == options.control else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
