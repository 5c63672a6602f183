"""The jobs of one class stay in order, in runs and in the heap."""

import random

import pytest

from headrace._native import MatchIndex

NONE: frozenset[int] = frozenset()


@pytest.mark.parametrize("priorities", [1, 3, 40, 1_000_000])
def test_a_deep_class_keeps_its_order_through_removal_and_late_arrivals(priorities: int) -> None:
    random_ = random.Random(priorities)
    index = MatchIndex()
    shape = index.shape_add(None, None, -1, NONE)
    classes = [index.class_add(0, 0, (n, 0, 0, 0), NONE, NONE) for n in range(2)]
    waiting: dict[int, int] = {}
    free_handles = list(range(9_000))
    for age in range(30_000):
        share = 0.75 if age % 10_000 < 6_000 else 0.2
        if random_.random() < share and free_handles:
            handle = free_handles.pop(random_.randrange(len(free_handles)))
            late = random_.random() < 0.05
            key = random_.randrange(priorities) << 32 | (age // 2 if late else age)
            index.push(classes[handle % 2], handle, key)
            waiting[handle] = key
        elif random_.random() < 0.4 and waiting:
            handle = next(iter(waiting))
            assert index.key(handle) == waiting.pop(handle)
            assert index.remove(handle)
            free_handles.append(handle)
        else:
            handle = index.take(shape, 1, 0, 0, 0)
            if handle >= 0:
                free_handles.append(handle)
                del waiting[handle]
        if age % 2_000 == 0:
            index.check()
            first = min(waiting, key=lambda handle: (waiting[handle], handle), default=-1)
            assert index.peek(shape, 1, 0, 0, 0) == first

    taken = index.take_many(shape, (10**9, 0, 0, 0), 10_000)

    assert taken == sorted(waiting, key=lambda handle: (waiting[handle], handle))
    index.check()


@pytest.mark.parametrize("length", [20, 31, 32, 33, 200])
def test_a_run_that_grows_over_its_gaps_stays_sound(length: int) -> None:
    """A short run keeps its gaps however many they are; it grows long before it loses them."""
    index = MatchIndex()
    cls = index.class_add(0, 0, (0, 0, 0, 0), NONE, NONE)
    shape = index.shape_add(None, None, -1, NONE)
    first, last = 4, length + 3  # behind the few that a class keeps apart
    for handle in range(last + 1):
        index.push(cls, handle, handle)
    for handle in range(first + 1, last):
        assert index.remove(handle)
        index.check()
    for handle in range(last + 1, last + 201):
        index.push(cls, handle, handle)
        index.check()
    assert index.remove(last)
    index.check()
    expected = [*range(first + 1), *range(last + 1, last + 201)]
    assert index.take_many(shape, (1, 1, 1, 1), 1_000) == expected
    index.check()


def test_priorities_that_come_lowest_first_have_a_run_each() -> None:
    """A first job that a new one comes before takes no run from those behind it."""
    index = MatchIndex()
    cls = index.class_add(0, 0, (0, 0, 0, 0), NONE, NONE)
    shape = index.shape_add(None, None, -1, NONE)
    priorities, each = 7, 5_000
    handles = iter(range(priorities * each))
    for priority in reversed(range(priorities)):
        for age in range(each):
            index.push(cls, next(handles), priority << 32 | age)
    last = each - 1
    index.check()

    # Only in runs is this told exactly of so many.
    assert index.ahead(cls, (priorities - 1) << 32 | last, last) == (priorities * each - 1,) * 2
    taken = index.take_many(shape, (0, 0, 0, 0), each + 1)

    assert taken[:3] == [(priorities - 1) * each + age for age in range(3)]
    assert taken[-1] == (priorities - 2) * each
    index.check()
