"""A tenant at 100 times what it may ask, and what that does to another one's submits.

    python bench/bench_tenants.py [--times 100] [--rounds 6] [--seconds 3] [--name tenants]

The noisy tenant's key may ask 20 times a second; it asks as many times as that as `--times` says,
from a process of its own. The other tenant submits a job every 5 ms. Rounds without and with noise
take turns in one run; p99 is told of each, and the medians are compared.
"""

import argparse
import asyncio
import multiprocessing
import os
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import uvloop

from headrace.bench import http
from headrace.bench.connection import Asker, Connection, Crowd
from headrace.bench.http import HttpConnection
from headrace.bench.measures import percentile
from headrace.bench.process import HeadraceServer, pin_client
from rig import SCRATCH, machine, save, served

QUOTA_PER_S = 20
NOISY_CONNECTIONS = 16
TICK_S = 0.005
QUIET_S = 0.005
SETTLE_S = 0.3
NOISE_NICE = 15
"""It shares a core with the client that measures, whom it must not hold up there."""


class AnyStatus(HttpConnection):
    """As the other, for one whose requests are refused; counts what comes."""

    counted: ClassVar[Counter[bytes]] = Counter()

    def take(self, data: bytes) -> None:
        if not self._partial:
            self.counted[data[9:12]] += 1
        super().take(data[:9] + b"200" + data[12:])


def keyed(sent: bytes, key: str) -> bytes:
    return sent.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {key}\r\n\r\n".encode(), 1)


def make_key(server: HeadraceServer, **fields: Any) -> str:
    import http.client
    import json

    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    by = fields.pop("by", "")
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {by}"} if by else {}
    connection.request("POST", "/api/v1/keys", json.dumps(fields), headers)
    made = json.loads(connection.getresponse().read())
    connection.close()
    return str(made["key"])


async def make_noise(port: int, key: str, per_s: int, until_s: float) -> dict[bytes, int]:
    """Ask evenly, whatever is answered; a connection that waits for its answer lets one pass."""
    free: list[Connection] = []
    sent = keyed(http.submit(), key)
    crowd = Crowd()
    free += await crowd.open(AnyStatus, port, NOISY_CONNECTIONS, lambda one, *_: free.append(one))
    began_s, asked = time.monotonic(), 0
    while (now_s := time.monotonic()) < until_s:
        while free and asked < (now_s - began_s) * per_s:
            free.pop().send(sent)
            asked += 1
        await asyncio.sleep(TICK_S / 4)
    return dict(AnyStatus.counted)


def noise(port: int, key: str, per_s: int, seconds: float, told: Any) -> None:
    os.nice(NOISE_NICE)
    counted = uvloop.run(make_noise(port, key, per_s, time.monotonic() + seconds))
    told.send({status.decode(): number for status, number in counted.items()})


async def submits(port: int, key: str, seconds: float) -> list[float]:
    """Submit a job every 5 ms; return the milliseconds that each took."""
    asker = await Asker(HttpConnection).open(port)
    sent, took_ms = keyed(http.submit(), key), []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        began_s = time.perf_counter()
        await asker.ask(sent)
        took_ms.append((asker.arrived_s - began_s) * 1_000)
        await asyncio.sleep(QUIET_S)
    await asker.close()
    return took_ms


def measure(server: HeadraceServer, args: argparse.Namespace) -> dict[str, Any]:
    root = make_key(server, tenant="*", scopes=["admin"])
    quota = {"per_second": QUOTA_PER_S, "burst": QUOTA_PER_S}
    loud = make_key(server, by=root, tenant="loud", scopes=["submit"], requests=quota)
    quiet = make_key(server, by=root, tenant="quiet", scopes=["submit"])
    rounds: dict[str, list[float]] = {"alone": [], "beside": []}
    asked: Counter[str] = Counter()
    context = multiprocessing.get_context("fork")
    uvloop.run(submits(server.port, quiet, 1.0))
    for _ in range(args.rounds):
        took = uvloop.run(submits(server.port, quiet, args.seconds))
        rounds["alone"].append(percentile(took, 0.99))
        ours, theirs = context.Pipe()
        per_s = QUOTA_PER_S * args.times
        given = (server.port, loud, per_s, args.seconds + SETTLE_S * 2, theirs)
        noisy = context.Process(target=noise, args=given)
        noisy.start()
        time.sleep(SETTLE_S)
        took = uvloop.run(submits(server.port, quiet, args.seconds))
        rounds["beside"].append(percentile(took, 0.99))
        asked.update(ours.recv())
        noisy.join()
    medians = {name: statistics.median(values) for name, values in rounds.items()}
    return {
        "p99_ms": rounds,
        "median_p99_ms": medians,
        "raised_by": medians["beside"] / medians["alone"] - 1,
        "answers_to_noise": dict(asked),
        "noise_per_s": sum(asked.values()) / args.rounds / (args.seconds + SETTLE_S * 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--times", type=int, default=100, help="the noisy tenant's quota")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--dir", type=Path, default=SCRATCH)
    parser.add_argument("--name", default="tenants", help="of the result file")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    pin_client()
    with served(args.dir) as server:
        row = measure(server, args)
    print({name: round(value, 3) for name, value in row["median_p99_ms"].items()})
    print(f"raised by {row['raised_by']:.1%}; noise: {row['noise_per_s']:.0f} a second", flush=True)
    settings = {"times": args.times, "quota_per_s": QUOTA_PER_S, "seconds": args.seconds}
    results = {"machine": machine(args.dir), "settings": settings, "rows": {"requests": row}}
    print(save(args.name, results))


if __name__ == "__main__":
    main()
