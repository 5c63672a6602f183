"""The native structures: a hundred steps each, a hundred thousand entries beside them."""

import random
from typing import Any

from parts import Rounds

from headrace._native import Heap, JobTable, MatchIndex, TimerIndex
from headrace.core.job import RECORD_BYTES

SIZE = 100_000
STEPS = 100
CLASSES = 100
NONE: frozenset[int] = frozenset()
PLENTY = (2**31, 2**31, 2**31, 2**31)
RECORD = bytes(RECORD_BYTES)


def numbers(seed: int) -> list[int]:
    rand = random.Random(seed)
    return [rand.randrange(1 << 40) for _ in range(SIZE)]


def test_heap_takes_and_gives_back_100(rounds: Rounds) -> None:
    heap = Heap()
    for handle, key in enumerate(numbers(1)):
        heap.push(handle, key)

    def work(_: None) -> None:
        for _step in range(STEPS):
            handle, key = heap.pop() or (0, 0)
            heap.push(handle, key + (1 << 40))

    rounds(work, lambda: None)


def test_timers_move_100(rounds: Rounds) -> None:
    timers = TimerIndex()
    for handle, due_ms in enumerate(numbers(2)):
        timers.set(handle, due_ms)
    moves = iter(numbers(3) * 10)

    def work(steps: list[tuple[int, int]]) -> None:
        for handle, due_ms in steps:
            timers.set(handle, due_ms)

    rounds(work, lambda: [(next(moves) % SIZE, next(moves)) for _ in range(STEPS)])


def ids(first: int, number: int) -> list[bytes]:
    rand = random.Random(first)
    return [(first + n).to_bytes(8, "big") + rand.randbytes(8) for n in range(number)]


def test_table_finds_100(rounds: Rounds) -> None:
    table, known = JobTable(RECORD_BYTES), ids(0, SIZE)
    for job_id in known:
        table.add(job_id, RECORD)
    rand = random.Random(4)

    def work(wanted: list[bytes]) -> None:
        for job_id in wanted:
            table.find(job_id)

    rounds(work, lambda: rand.sample(known, STEPS))


def test_table_adds_100(rounds: Rounds) -> None:
    table = JobTable(RECORD_BYTES)
    for job_id in ids(0, SIZE):
        table.add(job_id, RECORD)
    first = SIZE

    def prepare() -> list[bytes]:
        nonlocal first
        first += STEPS
        return ids(first, STEPS)

    def work(new: list[bytes]) -> None:
        for job_id in new:
            table.add(job_id, RECORD)

    rounds(work, prepare)


class Match:
    """An index of jobs in turn of a hundred classes; those that were taken come back last."""

    def __init__(self) -> None:
        self.index = MatchIndex()
        self.classes = [
            self.index.class_add(0, n % 4, (100 * (n % 10 + 1), 128, 0, 0), NONE, NONE)
            for n in range(CLASSES)
        ]
        self.shape = self.index.shape_add(None, None, -1, NONE)
        self.age = 0
        self.taken: list[int] = list(range(SIZE))
        self.back(first=True)

    def back(self, *, first: bool = False) -> None:
        for handle in self.taken:
            cls = self.classes[handle % CLASSES]
            self.index.push(cls, handle, self.age)
            if not first:
                self.index.release(cls)
            self.age += 1
        self.taken = []


def test_match_takes_100_one_by_one(rounds: Rounds) -> None:
    match = Match()

    def work(_: Any) -> None:
        take = match.index.take
        match.taken = [take(match.shape, *PLENTY) for _ in range(STEPS)]

    rounds(work, match.back)


def test_match_takes_100_at_once(rounds: Rounds) -> None:
    match = Match()

    def work(_: Any) -> None:
        match.taken = match.index.take_many(match.shape, PLENTY, STEPS)

    rounds(work, match.back)


def test_match_queues_100(rounds: Rounds) -> None:
    match = Match()

    def prepare() -> None:
        match.taken = match.index.take_many(match.shape, PLENTY, STEPS)

    rounds(lambda _: match.back(), prepare)
