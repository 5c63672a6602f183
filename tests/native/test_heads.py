"""With ten thousand classes and more, their blocks and groups give the answers of a scan."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from headrace._native import MatchIndex
from headrace._native.reference import Need

NONE: frozenset[int] = frozenset()
MOST = (64_000, 256_000, 1_000_000, 8_000)
TENANT_FIRST = 1 << 31


def small(random_: random.Random) -> Need:
    cpu_milli, memory_mb, storage_mb, gpu_milli = (
        int(most * random_.random() ** 2) for most in MOST
    )
    return cpu_milli, memory_mb, storage_mb, gpu_milli


def part(random_: random.Random, least: float, most: float) -> Need:
    """Four amounts within a part of all there are."""
    cpu_milli, memory_mb, storage_mb, gpu_milli = (
        int(amount * random_.uniform(least, most)) for amount in MOST
    )
    return cpu_milli, memory_mb, storage_mb, gpu_milli


class Plain:
    """A list of what is queued, and of classes that have nothing queued."""

    def __init__(self) -> None:
        self.index = MatchIndex()
        self.queued: dict[int, tuple[int, Need, int, int | None]] = {}  # by handle
        self.classes: dict[int, int] = {}
        self.handle = 0

    def add(self, need: Need, key: int, kind: int = 0, tenant: int | None = None) -> None:
        handle = self.handle
        self.handle += 1
        labels = NONE if tenant is None else frozenset({TENANT_FIRST + tenant})
        cls = self.index.class_add(0, kind, need, NONE, labels)
        self.index.push(cls, handle, key)
        self.queued[handle] = (key, need, kind, tenant)
        self.classes[handle] = cls

    def gone(self, handle: int) -> None:
        del self.queued[handle]
        self.index.class_drop(self.classes.pop(handle))

    def first(self, offer: Need, kind: int | None, tenant: int | None) -> int:
        return min(
            (
                (key, handle)
                for handle, (key, need, of_kind, of_tenant) in self.queued.items()
                if all(a <= b for a, b in zip(need, offer, strict=True))
                and (kind is None or kind == of_kind)
                and (tenant is None or tenant == of_tenant)
            ),
            default=(0, -1),
        )[1]


def rising(age: int, random_: random.Random) -> int:
    return age


def in_bands(age: int, random_: random.Random) -> int:
    return random_.randrange(3) << 32 | age


def at_random(age: int, random_: random.Random) -> int:
    return random_.randrange(1_000_000)


def falling(age: int, random_: random.Random) -> int:
    return 1_000_000 - age


@pytest.mark.parametrize("key_of", [rising, in_bands, at_random, falling])
def test_a_large_queue_is_taken_in_the_order_of_a_scan(
    key_of: Callable[[int, random.Random], int],
) -> None:
    random_ = random.Random(key_of.__name__)
    plain = Plain()
    index = plain.index
    shape = index.shape_add(None, None, -1, NONE)
    age = 20_000 if key_of is rising else 10_000  # groups of old ones are of 8,192
    for early in range(age):
        plain.add(part(random_, 0, 1), key_of(early, random_))
    index.check()
    for step in range(10_000):  # first the easy ones go, and others come
        offer = small(random_) if step < 6_000 else part(random_, 0.7, 1)
        wanted = plain.first(offer, None, None) if step % 200 == 0 else None
        handle = index.take(shape, *offer)
        assert wanted is None or handle == wanted
        if handle >= 0:
            index.release(plain.classes[handle])
            plain.gone(handle)
        if step < 6_000:
            age += 1
            plain.add(part(random_, 0, 1), key_of(age, random_))
        if step % 4_000 == 0:
            index.check()
    rest = list(plain.queued)
    random_.shuffle(rest)
    for handle in rest:
        assert index.remove(handle)
        plain.gone(handle)
        if len(plain.queued) % 2_000 == 0:
            index.check()
            offer = part(random_, 0.3, 1)
            assert index.peek(shape, *offer) == plain.first(offer, None, None)
    assert index.classes() == []


def test_needs_that_move_on_are_told_apart_again() -> None:
    """What was chosen to tell the first needs apart tells nothing of the later ones."""
    random_ = random.Random(5)
    plain = Plain()
    index = plain.index
    shape = index.shape_add(None, None, -1, NONE)
    for age in range(10_000):
        plain.add(part(random_, 0.9 * age / 10_000, 0.9 * age / 10_000 + 0.1), age)
    for step in range(4_000):
        at = random_.uniform(0.1, 1)
        offer = part(random_, at * 0.98, at)
        handle = index.peek(shape, *offer)
        if step % 50 == 0:
            assert handle == plain.first(offer, None, None)
            index.check()
        if step % 2 and handle >= 0:
            assert index.take(shape, *offer) == handle
            index.release(plain.classes[handle])
            plain.gone(handle)


def test_kinds_and_tenants_are_told_apart_among_thousands() -> None:
    random_ = random.Random(6)
    plain = Plain()
    index = plain.index
    for age in range(9_000):
        tenant = random_.choice([None, random_.randrange(2_000)])
        plain.add(small(random_), age, random_.randrange(1_500), tenant)
    for step in range(600):
        kind = random_.choice([None, random_.randrange(1_500)])
        tenant = random_.choice([None, random_.randrange(2_000)])
        shape = index.shape_add(
            None if kind is None else frozenset({kind}),
            None,
            -1,
            NONE if tenant is None else frozenset({TENANT_FIRST + tenant}),
            tenant is None,
        )
        offer = part(random_, 0.3, 1)
        handle = index.take(shape, *offer)
        assert handle == plain.first(offer, kind, tenant)
        if handle >= 0:
            index.release(plain.classes[handle])
            plain.gone(handle)
        index.shape_drop(shape)
        if step % 200 == 0:
            index.check()


def test_classes_of_many_jobs_move_back_as_they_are_taken() -> None:
    """A class whose first job is gone goes behind those whose first jobs come before its next."""
    random_ = random.Random(7)
    index = MatchIndex()
    needs = [part(random_, 0, 1) for _ in range(3_000)]
    classes = [index.class_add(0, 0, need, NONE, NONE) for need in needs]
    waiting = [list(range(cls, 15_000, 3_000)) for cls in range(3_000)]
    for handle in range(15_000):
        index.push(classes[handle % 3_000], handle, handle)
    shape = index.shape_add(None, None, -1, NONE)
    for step in range(9_000):
        offer = part(random_, 0.5, 1)
        handle = index.take(shape, *offer)
        if step % 20 == 0:
            fitting = (
                jobs[0]
                for jobs, need in zip(waiting, needs, strict=True)
                if jobs and all(a <= b for a, b in zip(need, offer, strict=True))
            )
            assert handle == min(fitting, default=-1)
        if handle >= 0:
            assert waiting[handle % 3_000].pop(0) == handle
        if step % 1_000 == 0:
            index.check()


def move_on() -> None:
    """A class goes behind a full block, whereby its own block is put together with others."""
    plain = Plain()
    index = plain.index
    for age in range(16 * 512):
        plain.add((age % 97, age % 89, age % 83, age % 79), age)
    moving = 14 * 512 + 300
    index.push(plain.classes[moving], 9_000, 1_000_000)
    for block in range(15):  # each far from full, but for the last one
        for slot in [*range(200), *range(400, 480)]:
            assert index.remove(512 * block + slot)
            plain.gone(512 * block + slot)
    index.check()
    assert index.remove(moving)
    index.check()
    shape = index.shape_add(None, None, -1, NONE)
    need = plain.queued.pop(moving)[1]
    assert index.peek(shape, *need) in (plain.first(need, None, None), 9_000)


def test_a_class_moves_on_while_its_block_is_put_together_with_others() -> None:
    """Memory that was given back is filled, so that nobody reads in it what was there."""
    filled = {**os.environ, "MALLOC_PERTURB_": "165"}
    subprocess.run([sys.executable, __file__], env=filled, check=True, timeout=100)


def test_a_new_block_stands_behind_a_group_and_before_a_small_one() -> None:
    """Two bands; the earlier one fills up when little is left of the later one's group."""
    random_ = random.Random(8)
    plain = Plain()
    index = plain.index
    shape = index.shape_add(None, None, -1, NONE)

    def add(keys: range) -> list[int]:
        begin = plain.handle
        for key in keys:
            plain.add(part(random_, 0.2, 1), key)
        return list(range(begin, plain.handle))

    def drop(handles: list[int]) -> None:
        for handle in handles:
            assert index.remove(handle)
            plain.gone(handle)

    add(range(8_192))
    later = add(range(100_000, 108_193))
    drop(later[1_600:])
    earlier = add(range(10_000, 18_192))
    for block in range(15):
        drop(earlier[512 * block : 512 * block + 200])
    index.check()
    add(range(20_000, 20_001))
    index.check()
    for _ in range(200):
        offer = part(random_, 0.3, 0.9)
        assert index.peek(shape, *offer) == plain.first(offer, None, None)


def test_a_lane_that_was_large_is_searched_in_vain_while_it_is_small() -> None:
    index = MatchIndex()
    shape = index.shape_add(None, None, -1, NONE)
    classes = [
        index.class_add(0, 0, (one % 2 * 100 + one, (1 - one % 2) * 100 + one, 0, 0), NONE, NONE)
        for one in range(60)
    ]
    for handle, cls in enumerate(classes):
        index.push(cls, handle, handle)
    for handle in range(60):
        assert index.remove(handle)
    for queued in (6, 20, 60):
        for handle in range(queued):
            if handle not in index:
                index.push(classes[handle], handle, handle)
        for _ in range(3_000):
            assert index.peek(shape, 50, 50, 0, 0) == -1
        index.check()


class Phases(Plain):
    """Long stretches of one kind of act, over classes that have one job or many."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.bands = self.random.choice([1, 1, 2, 3])
        self.drift = self.random.random() < 0.3
        self.shapes = {
            kind: self.index.shape_add(None if kind is None else frozenset({kind}), None, -1, NONE)
            for kind in (None, 1, 33)
        }

    def need(self) -> Need:
        least = min(0.9, self.handle / 30_000) if self.drift else 0
        return part(self.random, least, least + 0.1 if self.drift else 1)

    def key(self) -> int:
        late = self.random.random() < 0.97
        age = self.handle if late else self.random.randrange(self.handle + 1)
        return self.random.randrange(self.bands) << 32 | age

    def come(self) -> None:
        self.add(self.need(), self.key(), self.random.randrange(40))

    def again(self) -> None:
        """Another job of a class that has some."""
        if self.queued:
            of = self.random.choice(list(self.classes)[-2_000:])
            handle, key = self.handle, self.key()
            self.handle += 1
            self.index.push(self.classes[of], handle, key)
            self.queued[handle] = (key, *self.queued[of][1:])
            self.classes[handle] = self.classes[of]

    def go(self, handle: int) -> None:
        cls = self.classes.pop(handle)
        del self.queued[handle]
        if self.index.class_len(cls) == 0:
            self.index.class_drop(cls)

    def take(self, is_looked_at: bool) -> None:
        kind = self.random.choice([None, None, 1, 33])
        offer = part(self.random, 0, 1) if self.random.random() < 0.7 else small(self.random)
        wanted = self.first(offer, kind, None) if is_looked_at else None
        handle = self.index.take(self.shapes[kind], *offer)
        assert wanted is None or handle == wanted
        if handle >= 0:
            self.index.release(self.classes[handle])
            self.go(handle)

    def leave(self, handles: list[int]) -> None:
        for handle in handles:
            assert self.index.remove(handle)
            self.go(handle)

    def phase(self) -> int:
        acts = self.random.choice([200, 1_000, 4_000])
        kind = self.random.choice(["come", "come", "again", "take", "exchange", "range", "any"])
        if kind == "come" and len(self.queued) < 25_000:
            for _ in range(2 * acts):
                self.come()
        elif kind == "again":
            for _ in range(acts):
                self.again()
        elif kind in ("take", "exchange"):
            for act in range(acts):
                self.take(act % (acts // 10) == 0)
                if kind == "exchange":
                    self.come()
        elif kind == "range":
            order = sorted(self.queued, key=self.queued.__getitem__)
            begin = self.random.randrange(len(order) + 1)
            share = self.random.choice([1, 1, 0.9, 0.5])
            gone = order[begin : begin + 3 * acts]
            self.leave([handle for handle in gone if self.random.random() < share])
        elif kind == "any":
            self.leave(self.random.sample(list(self.queued), min(len(self.queued), 2 * acts)))
        self.index.check()
        return acts


def run_phases(seed: int, acts: int) -> None:
    phases = Phases(seed)
    while acts > 0:
        acts -= phases.phase()


@pytest.mark.parametrize("seed", range(3))
def test_phases_of_coming_and_going_leave_the_answers_of_a_scan(seed: int) -> None:
    run_phases(seed, 20_000)


if __name__ == "__main__":  # more of it: python tests/native/test_heads.py SEED ACTS
    if sys.argv[1:]:
        run_phases(int(sys.argv[1]), int(sys.argv[2]))
    else:
        move_on()
