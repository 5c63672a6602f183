"""The native structures alone: what a take, a push and a job cost, and how that grows.

What the numbers do not say: no engine, no store and no HTTP is in them. Calls are made from
Python, so each holds the cost of a call (`call_ns` is a call that does nothing). Percentiles
time each call by itself and hold one clock reading; means are medians over runs of 500 calls.
Depths and numbers of classes are measured in turn, five times each, so that what slows the machine
for a while slows all of them; 500 calls go before each turn, with offers of their own.
Depth and classes stay as they are: every job taken is pushed back at the end of its class, or
("churn") replaced by one with needs that none had before. The trace's jobs are those of
`trace_replay.py`, each a few percent off; without the trace's files they are left out.

    python bench/bench_native.py            about a minute
    python bench/bench_native.py --full     adds 10^7 jobs, needs 2 GB
    python bench/bench_native.py --json     one object: a list of rows for each section
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import sys
from array import array
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

from headrace._native import JobTable, MatchIndex, TimerIndex
from trace_replay import TRACES, read_nodes, read_pods

Need = tuple[int, int, int, int]
Row = dict[str, Any]

NONE: frozenset[int] = frozenset()
EVERYTHING: Need = (2**31, 2**31, 2**31, 2**31)
NEED_LIMITS = (64_000, 256_000, 1_000_000, 8_000)
RUN = 500  # calls between two clock readings
TURNS = 5
BATCH = 100


def rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def median(values: list[float]) -> int:
    return round(sorted(values)[len(values) // 2]) if values else 0


def percentile(values: list[int], part: float) -> int:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0


def spread(singles_ns: list[int]) -> Row:
    """What single takes cost."""
    return {
        "take_mean_ns": round(sum(singles_ns) / len(singles_ns)),
        "take_p50_ns": percentile(singles_ns, 0.5),
        "take_p99_ns": percentile(singles_ns, 0.99),
        "take_max_ns": max(singles_ns),
    }


def call_ns() -> int:
    length = MatchIndex().__len__
    runs = []
    for _ in range(20):
        begin = perf_counter_ns()
        for _ in range(RUN):
            length()
        runs.append((perf_counter_ns() - begin) / RUN)
    return median(runs)


class Load:
    """An index in which job `handle` belongs to class `handle % classes`."""

    def __init__(self, needs: list[Need], jobs: int, key: Callable[[int], int]) -> None:
        self.index = MatchIndex()
        self.needs = needs
        self.classes = [
            self.index.class_add(0, number % 4, need, NONE, NONE)
            for number, need in enumerate(needs)
        ]
        self.key = key
        self.shape = self.index.shape_add(None, None, -1, NONE)
        for handle in range(jobs):
            self.index.push(self.classes[handle % len(needs)], handle, key(handle))
        self.take_ns: list[float] = []
        self.push_ns: list[float] = []
        self.single_ns: list[int] = []
        self.batch_ns: list[float] = []
        self.misses = 0

    def back(self, handles: list[int]) -> float:
        """Push what was taken; return ns for each."""
        index, classes = self.index, self.classes
        rows = [(classes[h % len(classes)], h, self.key(h)) for h in handles if h >= 0]
        push = index.push
        begin = perf_counter_ns()
        for cls, handle, key in rows:
            push(cls, handle, key)
        spent = perf_counter_ns() - begin
        for cls, _, _ in rows:
            index.release(cls)
        return spent / max(1, len(rows))

    def warm(self, frees: list[Need]) -> None:
        self.back([self.index.take(self.shape, *free) for free in frees])

    def run(self, frees: list[Need], shapes: list[int] | None = None) -> None:
        """Take for each of these offers, twice, and now and then a batch."""
        take = self.index.take
        offers = [
            (shapes[i % len(shapes)] if shapes else self.shape, *free)
            for i, free in enumerate(frees)
        ]
        gc.disable()
        for at in range(0, len(offers), RUN):
            some = offers[at : at + RUN]
            handles = []
            begin = perf_counter_ns()
            for shape, cpu, memory, storage, gpu in some:
                handles.append(take(shape, cpu, memory, storage, gpu))
            self.take_ns.append((perf_counter_ns() - begin) / len(some))
            self.misses += handles.count(-1)
            self.push_ns.append(self.back(handles))
            handles.clear()
            for shape, cpu, memory, storage, gpu in some:
                begin = perf_counter_ns()
                handle = take(shape, cpu, memory, storage, gpu)
                self.single_ns.append(perf_counter_ns() - begin)
                handles.append(handle)
            self.back(handles)
            for _ in range(RUN // BATCH):
                begin = perf_counter_ns()
                handles = self.index.take_many(some[0][0], EVERYTHING, BATCH)
                if handles:
                    self.batch_ns.append((perf_counter_ns() - begin) / len(handles))
                self.back(handles)
        gc.enable()

    def row(self) -> Row:
        return {
            "take_ns": median(self.take_ns),
            "push_ns": median(self.push_ns),
            "batch_ns": median(self.batch_ns),
            **spread(self.single_ns),
            "fits_none": self.misses,
        }

    def measure(self, frees: list[Need], shapes: list[int] | None = None) -> Row:
        self.run(frees, shapes)
        return self.row()


def in_all(rounds: int) -> int:
    """Return how many offers turns need that measure so many, or a little more."""
    return TURNS * (RUN + max(RUN, rounds // TURNS))


def in_turn(loads: list[Load], frees: list[list[Need]]) -> None:
    """Run each of the loads with its own offers, a part of them in each turn."""
    part = len(frees[0]) // TURNS
    for turn in range(TURNS):
        for load, offers in zip(loads, frees, strict=True):
            some = offers[turn * part : (turn + 1) * part]
            load.warm(some[:RUN])
            load.run(some[RUN:])


def rising(priorities: int) -> Callable[[int], int]:
    """Keys as the engine packs them: priority above, age below."""
    ages = count()
    return lambda handle: handle % priorities << 56 | next(ages)


def need_small(number: int) -> Need:
    return (100 * (number % 10 + 1), 128 * (number // 10 % 10 + 1), 0, 0)


def need_random(rand: random.Random) -> Need:
    cpu_milli, memory_mb, storage_mb, gpu_milli = (rand.randrange(most) for most in NEED_LIMITS)
    return (cpu_milli, memory_mb, storage_mb, gpu_milli)


def need_log(rand: random.Random) -> Need:
    """Amounts over all orders of magnitude, as clients name them."""
    cpu_milli, memory_mb, storage_mb, gpu_milli = (
        int(most ** rand.random()) for most in NEED_LIMITS
    )
    return (cpu_milli, memory_mb, storage_mb, gpu_milli)


class Mix(NamedTuple):
    """Jobs, each with needs of its own, and workers that ask for them."""

    name: str
    job: Callable[[random.Random], tuple[Need, frozenset[int]]]
    """Needs and GPU models."""
    offer: Callable[[random.Random], tuple[int, Need]]
    """A GPU model, -1 for none, and what is free."""


def mixes() -> list[Mix]:
    found = [
        Mix(name, lambda rand, of=of: (of(rand), NONE), lambda rand, of=of: (-1, of(rand)))
        for name, of in (("uniform", need_random), ("log", need_log))
    ]
    return [*found, trace_mix()] if TRACES.is_dir() else found


def trace_mix() -> Mix:
    """Pods with their GPU models, and nodes that are partly in use."""
    pods, nodes = read_pods(), read_nodes()
    models = {name: n for n, name in enumerate(sorted({node.model for node in nodes} - {""}))}

    def job(rand: random.Random) -> tuple[Need, frozenset[int]]:
        pod = rand.choice(pods)
        need = (
            int(pod.cpu * rand.uniform(0.98, 1.02)),
            int(pod.memory * rand.uniform(0.9, 1.1)),
            0,
            pod.gpu,
        )
        return need, frozenset(models[name] for name in pod.models if name in models)

    def offer(rand: random.Random) -> tuple[int, Need]:
        node = rand.choice(nodes)
        part = rand.random()
        free = (int(node.cpu * part), int(node.memory * part), NEED_LIMITS[2], node.gpu)
        return models.get(node.model, -1), free

    return Mix("trace", job, offer)


def over_depth(depths: list[int], rounds: int) -> list[Row]:
    """100 classes, three priorities, everything fits."""
    needs = [need_small(number) for number in range(100)]
    loads = [Load(needs, depth, rising(3)) for depth in depths]
    in_turn(loads, [[EVERYTHING] * in_all(rounds)] * len(loads))
    return [
        {"jobs": depth, "classes": 100, **load.row()}
        for depth, load in zip(depths, loads, strict=True)
    ]


def over_classes(classes: list[int], rounds: int) -> list[Row]:
    """Each job its own class at the upper end; workers of random sizes."""
    rows = []
    for name, need in (("uniform", need_random), ("log", need_log)):
        loads, frees = [], []
        for number in classes:
            rand = random.Random(number)
            jobs = max(number, 10_000)
            loads.append(Load([need(rand) for _ in range(number)], jobs, rising(1)))
            frees.append([need(rand) for _ in range(in_all(rounds))])
        in_turn(loads, frees)
        for number, load in zip(classes, loads, strict=True):
            jobs = max(number, 10_000)
            rows.append({"needs": name, "classes": number, "jobs": jobs, **load.row()})
    return rows


def over_adversaries(number: int, rounds: int) -> list[Row]:
    """The first heads are those that fit least; every job is its own class."""
    rand = random.Random(7)
    half: Need = tuple(most // 2 for most in NEED_LIMITS)  # type: ignore[assignment]

    def sum_of(need: Need) -> int:
        return sum(a * 2**20 // most for a, most in zip(need, NEED_LIMITS, strict=True))

    def one_too_much() -> Need:
        need = [rand.randrange(most + 1) for most in half]
        dimension = rand.randrange(4)
        need[dimension] = half[dimension] + 1 + rand.randrange(half[dimension] // 50)
        return (need[0], need[1], need[2], need[3])

    uniform = [need_random(rand) for _ in range(number)]
    logarithmic = [need_log(rand) for _ in range(number)]
    facets = [one_too_much() for _ in range(number)]
    some = [need_random(rand) for _ in range(rounds)]
    cases: list[tuple[str, list[Need], Callable[[int], int], list[Need]]] = [
        (
            "largest first, half free",
            uniform,
            lambda h: 2**30 - sum_of(uniform[h]),
            [half] * rounds,
        ),
        ("largest first, any free", uniform, lambda h: 2**30 - sum_of(uniform[h]), some),
        ("largest first, log", logarithmic, lambda h: 2**40 - sum_of(logarithmic[h]), some),
        ("one dimension too much", facets, lambda h: h, [half] * rounds),
        ("nothing fits", uniform, lambda h: h, [(0, 0, 0, 0)] * rounds),
    ]
    rows = []
    for name, needs, key, frees in cases:
        rows.append({"needs": name, "classes": number, **Load(needs, number, key).measure(frees)})
    return rows


class Churn:
    """An index in which each job has a class of its own, and one comes for each that is taken."""

    def __init__(self, mix: Mix, number: int, rounds: int) -> None:
        """Prepare for as many takes as there are jobs, and so many rounds after them."""
        self.mix = mix
        self.rand = random.Random(11)
        self.index = MatchIndex()
        offers = [mix.offer(self.rand) for _ in range(number + rounds)]
        self.shapes = {
            model: self.index.shape_add(None, None, model, NONE)
            for model in {model for model, _ in offers}
        }
        self.offers = iter([(self.shapes[model], free) for model, free in offers])
        self.classes = [
            self.index.class_add(0, handle % 4, *mix.job(self.rand), NONE)
            for handle in range(number)
        ]
        for handle, cls in enumerate(self.classes):
            self.index.push(cls, handle, handle)
        self.age = number
        self.misses = 0
        self.take_ns: list[int] = []
        self.change_ns: list[int] = []

    def turn(self, rounds: int, *, record: bool) -> None:
        index, classes = self.index, self.classes
        jobs = [self.mix.job(self.rand) for _ in range(rounds)]
        gc.disable()
        for (shape, free), job in zip(islice(self.offers, rounds), jobs, strict=True):
            begin = perf_counter_ns()
            handle = index.take(shape, *free)
            took_ns = perf_counter_ns() - begin
            if record:
                self.take_ns.append(took_ns)
                self.misses += handle < 0
            if handle < 0:
                continue
            begin = perf_counter_ns()
            index.release(classes[handle])
            index.class_drop(classes[handle])
            classes[handle] = index.class_add(0, handle % 4, *job, NONE)
            index.push(classes[handle], handle, self.age)
            if record:
                self.change_ns.append(perf_counter_ns() - begin)
            self.age += 1
        gc.enable()

    def row(self) -> Row:
        return {
            **spread(self.take_ns),
            "change_p50_ns": percentile(self.change_ns, 0.5),
            "change_p99_ns": percentile(self.change_ns, 0.99),
            "fits_none": self.misses,
        }


def over_churn(classes: list[int], rounds: int) -> list[Row]:
    """Each job brings its own class, which is dropped when the job is taken."""
    rows = []
    part = max(RUN, rounds // TURNS)
    for mix in mixes():
        loads = [Churn(mix, number, rounds + TURNS * (part + RUN)) for number in classes]
        for number, load in zip(classes, loads, strict=True):
            # Once the jobs that few offers fit have piled up.
            load.turn(number + rounds, record=False)
        for _ in range(TURNS):
            for load in loads:
                load.turn(RUN, record=False)
                load.turn(part, record=True)
        rows += [
            {"needs": mix.name, "classes": number, **load.row()}
            for number, load in zip(classes, loads, strict=True)
        ]
    return rows


def over_traits(number: int, rounds: int) -> list[Row]:
    """Classes that differ in kind, labels, GPU models or queue; the first heads are refused."""
    rows = []
    for name in ("kinds", "labels", "gpu models", "queues", "queues listed"):
        index = MatchIndex()
        for i in range(number):
            one = frozenset({i + 10})
            cls = index.class_add(
                i // 10 if name.startswith("queues") else 0,
                i + 10 if name == "kinds" else 0,
                (100, 100, 0, 0),
                one if name == "gpu models" else NONE,
                one if name == "labels" else NONE,
            )
            index.push(cls, i, i)
        last = number - 1
        shape = index.shape_add(
            frozenset({last + 10}) if name == "kinds" else None,
            frozenset({last // 10}) if name == "queues listed" else None,
            last + 10 if name == "gpu models" else -1,
            frozenset({last + 10}) if name == "labels" else NONE,
        )
        if name == "queues":
            for queue in range(last // 10):
                index.set_queue(queue, 0, False)
        spent = []
        for _ in range(rounds):
            begin = perf_counter_ns()
            index.peek(shape, 1_000, 1_000, 0, 0)
            spent.append(perf_counter_ns() - begin)
        rows.append(
            {
                "differ in": name,
                "classes": number,
                "peek_p50_ns": percentile(spent, 0.5),
                "peek_p99_ns": percentile(spent, 0.99),
            }
        )
    return rows


def over_shapes(shapes: list[int], rounds: int) -> list[Row]:
    """1,000 classes of 4 kinds; workers that serve two kinds each and differ in labels."""
    rows = []
    for number in shapes:
        load = Load([need_small(i) for i in range(1_000)], 100_000, rising(1))
        numbers = [
            load.index.shape_add(
                frozenset({i % 4, (i + 1) % 4}), frozenset({0, 1}), i % 5, frozenset({i})
            )
            for i in range(number)
        ]
        rows.append({"shapes": number, **load.measure([EVERYTHING] * rounds, numbers)})
    return rows


def bytes_per_job(jobs: int) -> Row:
    """RSS of table (64-byte records), match index (100 classes) and timers, each job in all."""
    ids = random.Random(3).randbytes(8 * jobs)
    ages = array("Q", range(jobs))
    before = rss_bytes()
    table = JobTable(64)
    begin = perf_counter_ns()
    record = bytes(range(64))
    for number in ages:
        table.add(number.to_bytes(8, "big") + ids[8 * number : 8 * number + 8], record)
    add_ns = (perf_counter_ns() - begin) / jobs
    after_table = rss_bytes()
    index = MatchIndex()
    classes = [index.class_add(0, 0, need_small(i), NONE, NONE) for i in range(100)]
    for number in ages:
        index.push(classes[number % 100], number, number)
    after_index = rss_bytes()
    timers = TimerIndex()
    for number in ages:
        timers.set(number, number)
    after_timers = rss_bytes()
    order = random.Random(4).sample(range(jobs), min(jobs, 100_000))
    wanted = [table.id(handle) for handle in order]
    begin = perf_counter_ns()
    for one in wanted:
        table.find(one)
    find_ns = (perf_counter_ns() - begin) / len(wanted)
    return {
        "jobs": jobs,
        "table_bytes": round((after_table - before) / jobs, 1),
        "index_bytes": round((after_index - after_table) / jobs, 1),
        "timer_bytes": round((after_timers - after_index) / jobs, 1),
        "all_bytes": round((after_timers - before) / jobs, 1),
        "add_ns": round(add_ns),
        "find_ns": round(find_ns),
    }


def alone(measure: Callable[[int], Row], size: int) -> Row:
    """Measure in a process of its own, which has no freed memory to use again."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, size).result()


def show(title: str, rows: list[Row]) -> None:
    print(f"\n{title}")
    names = list(rows[0])
    widths = [
        max(
            len(name),
            *(
                len(f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]))
                for row in rows
            ),
        )
        for name in names
    ]
    print("  ".join(name.rjust(width) for name, width in zip(names, widths, strict=True)))
    for row in rows:
        cells = [f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()]
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the native structures alone.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--full", action="store_true", help="add 10^7 jobs; needs 2 GB")
    parser.add_argument("--rounds", type=int, default=5_000, help="takes for each row, about")
    parser.add_argument("--only", default="", help="sections by name, with commas between")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    depths = [1_000, 10_000, 100_000, 1_000_000] + [10_000_000] * arguments.full
    sizes = [1, 10, 100, 1_000, 10_000, 100_000]
    sections: dict[str, Callable[[], list[Row]]] = {
        "bytes": lambda: [alone(bytes_per_job, jobs) for jobs in depths[3:]],
        "depth": lambda: over_depth(depths, rounds),
        "classes": lambda: over_classes(sizes, rounds),
        "churn": lambda: over_churn(sizes, 2 * rounds),
        "adversary": lambda: over_adversaries(100_000, max(RUN, rounds // 5)),
        "traits": lambda: over_traits(20_000, rounds // 5),
        "shapes": lambda: over_shapes(sizes[:5], rounds),
    }
    wanted = [name for name in arguments.only.split(",") if name] or list(sections)
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "call_ns": call_ns(),
    }
    for name in wanted:
        report[name] = sections[name]()
        if not arguments.json:
            show(f"{name}: {sections_doc(name)}", report[name])
    if arguments.json:
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        print(f"\na call that does nothing: {report['call_ns']} ns")


def sections_doc(name: str) -> str:
    functions = {
        "bytes": bytes_per_job,
        "depth": over_depth,
        "classes": over_classes,
        "churn": over_churn,
        "adversary": over_adversaries,
        "traits": over_traits,
        "shapes": over_shapes,
    }
    return (functions[name].__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    main()
