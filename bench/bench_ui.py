"""The dashboard over a large store, while W4 runs beside it.

    python bench/bench_ui.py [--jobs 1000000] [--asks 50] [--rounds 5] [--dir DIR] [--store DIR]

The store is that of bench_lists.py. Chromium opens each page once, and what the page asks is noted.
Then, while W4 runs: those questions are asked one after the other by a process that does nothing
else, so that a page's time is that of all its data, in the worst order; chromium opens each page
anew, and says when it first painted and when the page's data had come. Last, W4 alone and W4 beside
an open overview take turns: its questions and its stream at the page's own pace, without a browser,
which would take its share of the same two cores.

What the numbers do not say: all clients are on the server's machine. With `--store` the filled
store is kept there, and made only if it is not; what is measured is a copy of it.
"""

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from bench_lists import Load, copy, job_id, make
from headrace.bench.measures import percentile
from headrace.bench.process import HOST, pin_client
from headrace.bench.workloads import Headrace
from headrace.core.ids import id_text
from peers.peer import server_core
from rig import SCRATCH, machine, save

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
OPEN = {"X-User-ID": "admin"}
"""What the page says of itself where there are no keys."""
PACE_S = 4.0
"""From one time to the next that an open overview asks anew: two samples of the server."""
PAINTS = 3
LOAD_S = 4.0
"""Of each stretch of W4 whose rate is compared."""
TIMES = """() => {
    const entries = performance.getEntriesByType("resource");
    const asked = entries.filter(({name}) => name.includes("/api/") && !name.includes("events"));
    return {
        paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null,
        data: Math.max(...asked.map(({responseEnd}) => responseEnd)),
    };
}"""


def pages(jobs: int) -> dict[str, str]:
    """Return the places of the dashboard."""
    return {
        "overview": "#/",
        "jobs": "#/jobs",
        "jobs, failed": "#/jobs?status=failed",
        "jobs, of a type": "#/jobs?type=stock%207",
        "a queued job": f"#/jobs/{id_text(job_id(jobs + jobs // 2))}",
        "a finished job": f"#/jobs/{id_text(job_id(jobs // 2))}",
        "dead-letter": "#/dead",
        "queues": "#/queues",
        "types": "#/types",
        "workers": "#/workers",
        "webhooks": "#/webhooks",
        "keys": "#/keys",
    }


# The browser ------------------------------------------------------------------------------------


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        found = shutil.which("chromium")
        browser = tools.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


def asked(port: int, jobs: int) -> dict[str, list[str]]:
    """Return what each page asks for when it is opened, but for streams."""
    found: dict[str, list[str]] = {}
    with chromium() as browser:
        for name, place in pages(jobs).items():
            context = browser.new_context()
            page = context.new_page()
            paths = found[name] = []
            page.on("request", lambda request, paths=paths: paths.append(request.url))
            page.goto(f"http://{HOST}:{port}/ui{place}")
            page.locator("main :is(td, dd, .empty, .plot canvas)").first.wait_for()
            context.close()
            found[name] = list(dict.fromkeys(filter(None, map(question, paths))))
    return found


def question(url: str) -> str:
    """Return the path of a question to the API; empty for a file, or a stream."""
    part = urlsplit(url)
    is_stream = "events" in part.path or "follow" in part.query
    return f"{part.path}?{part.query}" if part.path.startswith("/api/") and not is_stream else ""


def paints(port: int, jobs: int) -> dict[str, dict[str, float]]:
    """Return when each page first painted, and when its data had come, in ms; medians."""
    found: dict[str, dict[str, float]] = {}
    with chromium() as browser:
        for name, place in pages(jobs).items():
            times: list[dict[str, float]] = []
            for _ in range(PAINTS):
                context = browser.new_context()
                page = context.new_page()
                page.goto(f"http://{HOST}:{port}/ui{place}")
                page.locator("main :is(td, dd, .empty, .plot canvas)").first.wait_for()
                times.append(page.evaluate(TIMES))
                context.close()
            found[name] = {key: median(one[key] for one in times) for key in times[0]}
    return found


# Questions --------------------------------------------------------------------------------------


def ask(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path, headers=OPEN)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
    return body


def data_times(port: int, paths: dict[str, list[str]], asks: int) -> dict[str, dict[str, float]]:
    """Return how long it takes until all data of each page is there, in ms."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    passed: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(asks):
        for name, wanted in paths.items():
            began_s = time.perf_counter()
            for path in wanted:
                ask(connection, path)
            passed[name].append((time.perf_counter() - began_s) * 1_000)
    return {
        name: {
            "questions": len(paths[name]),
            "p50_ms": percentile(times, 0.5),
            "p99_ms": percentile(times, 0.99),
            "max_ms": max(times),
        }
        for name, times in passed.items()
    }


def keep_open(port: int, paths: list[str]) -> None:
    """Ask what an open overview asks, at its pace, until this process is ended."""

    def follow() -> None:
        stream = http.client.HTTPConnection(HOST, port, timeout=60)
        stream.request("GET", "/api/v1/stats/events", headers=OPEN)
        answer = stream.getresponse()
        while answer.read(64):
            pass

    threading.Thread(target=follow, daemon=True).start()
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    again = [path for path in paths if "history" not in path and "session" not in path]
    while True:
        for path in again:
            ask(connection, path)
        time.sleep(PACE_S)


# Beside W4 --------------------------------------------------------------------------------------


def own(mode: str, port: int, jobs: int, *more: str) -> list[str]:
    """Return the command of this program as another process."""
    return [
        sys.executable,
        __file__,
        "--mode",
        mode,
        "--port",
        str(port),
        "--jobs",
        str(jobs),
        *more,
    ]


def beside_w4(system: Headrace, command: list[str]) -> tuple[Any, int]:
    """Run a command while W4 runs; return what it printed, and the rate of W4."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    load = Load(system)
    threading.Thread(target=lambda: (process.wait(), load.stop())).start()
    load.run()
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(out)
    return json.loads(out), round(load.jobs / load.seconds)


def w4_rate(system: Headrace) -> dict[str, float]:
    load = Load(system)
    threading.Timer(LOAD_S, load.stop).start()
    cpu_s = system.server.cpu_s()
    load.run()
    cpu_s = system.server.cpu_s() - cpu_s
    return {"jobs_per_s": load.jobs / load.seconds, "jobs_per_cpu_s": load.jobs / cpu_s}


Rates = dict[str, list[dict[str, float]]]


def rates(system: Headrace, command: list[str], rounds: int) -> Rates:
    """Return rates of W4 alone and beside an open page, by turns."""
    found: Rates = {"alone": [], "beside": []}
    w4_rate(system)
    for _ in range(rounds):
        found["alone"].append(w4_rate(system))
        process = subprocess.Popen(command)
        try:
            found["beside"].append(w4_rate(system))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    return found


def loss_percent(found: Rates, of: str) -> float:
    alone, beside = (median(one[of] for one in found[name]) for name in ("alone", "beside"))
    return 100 * (1 - beside / alone)


def measure(place: Path, jobs: int, asks: int, rounds: int) -> dict[str, Any]:
    began_s = time.perf_counter()
    system = Headrace(place, core=server_core()).ready()
    print(f"ready after {time.perf_counter() - began_s:.1f} s", flush=True)
    port = system.server.port
    try:
        w4_rate(system)  # there are workers, and an answer to each question
        noted = subprocess.run(own("note", port, jobs), stdout=subprocess.PIPE, check=True)
        paths = json.loads(noted.stdout)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(json.dumps(paths))
            file.flush()
            given = ("--paths", file.name, "--asks", str(asks))
            data, w4_asked = beside_w4(system, own("ask", port, jobs, *given))
            painted, w4_painted = beside_w4(system, own("paint", port, jobs))
            turns = rates(system, own("open", port, jobs, *given), rounds)
    finally:
        system.server.stop()
    return {
        "pages": {name: {**data[name], **painted[name], "asks": paths[name]} for name in paths},
        "w4_while_asked": w4_asked,
        "w4_while_painted": w4_painted,
        "w4_rates": turns,
        "w4_loses_percent": {
            of: loss_percent(turns, of) for of in ("jobs_per_s", "jobs_per_cpu_s")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1_000_000, help="queued, and as many finished")
    parser.add_argument("--asks", type=int, default=50, help="times that each page's data is asked")
    parser.add_argument("--rounds", type=int, default=5, help="of W4 alone and beside a page")
    parser.add_argument("--dir", type=Path, default=SCRATCH)
    parser.add_argument("--store", type=Path, help="where the filled store is kept")
    parser.add_argument("--name", default="ui", help="of the result file")
    for name, kind in (("--mode", str), ("--port", int), ("--paths", Path)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.mode:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # it follows whoever rests
        paths = json.loads(args.paths.read_text()) if args.paths else {}
        if args.mode == "open":
            keep_open(args.port, paths["overview"])
        told = {
            "note": lambda: asked(args.port, args.jobs),
            "ask": lambda: data_times(args.port, paths, args.asks),
            "paint": lambda: paints(args.port, args.jobs),
        }[args.mode]()
        print(json.dumps(told))
        return
    args.dir.mkdir(parents=True, exist_ok=True)
    about = machine(args.dir)
    with tempfile.TemporaryDirectory(dir=args.dir) as directory:
        place = Path(directory) / "data"
        if args.store is None:
            make(place, args.jobs)
        else:
            make(args.store, args.jobs)
            copy(args.store, place)
        pin_client()
        found = measure(place, args.jobs, args.asks, args.rounds)
    print(f"{'page':18}{'asks':>6}{'data p50':>10}{'p99':>8}{'max ms':>8}{'paint':>8}{'shown':>8}")
    for name, row in found["pages"].items():
        times = (row["p50_ms"], row["p99_ms"], row["max_ms"])
        data = f"{times[0]:10.1f}{times[1]:8.1f}{times[2]:8.1f}"
        print(f"{name:18}{row['questions']:>6}{data}{row['paint']:8.0f}{row['data']:8.0f}")
    for name, turns in found["w4_rates"].items():
        shown = [f"{one['jobs_per_s']:,.0f}/{one['jobs_per_cpu_s']:,.0f}" for one in turns]
        print(f"W4 {name}, jobs a second, a server-CPU second: {', '.join(shown)}")
    for of, lost in found["w4_loses_percent"].items():
        print(f"W4 loses {lost:.1f} % of its {of}")
    settings = {"jobs": args.jobs, "asks": args.asks, "rounds": args.rounds}
    print(save(args.name, {"machine": about, "settings": settings, **found}))


if __name__ == "__main__":
    main()
