"""With ten thousand classes and more, their blocks and groups give the answers of a scan."""

from __future__ import annotations

import random
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
