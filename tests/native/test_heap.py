"""The heap keeps (key, handle) order under any sequence of operations."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._native import Heap
from headrace._native.reference_heap import KEY_MAX
from headrace._native.reference_heap import Heap as HeapTwin

EITHER = pytest.mark.parametrize("make", [Heap, HeapTwin], ids=["native", "twin"])

handles = st.integers(0, 30)
keys = st.integers(0, 8) | st.sampled_from([2**63, KEY_MAX])
operations = st.lists(
    st.tuples(st.sampled_from(["push", "push", "remove", "update", "pop"]), handles, keys),
    max_size=120,
)


def apply(heap: Heap | HeapTwin, name: str, handle: int, key: int) -> object:
    try:
        if name == "push":
            return heap.push(handle, key)
        if name == "update":
            return heap.update(handle, key)
    except KeyError:
        return KeyError
    return heap.remove(handle) if name == "remove" else heap.pop()


@given(operations)
@settings(max_examples=200, deadline=None)
def test_native_and_twin_agree(steps: list[tuple[str, int, int]]) -> None:
    native, twin = Heap(), HeapTwin()
    for name, handle, key in steps:
        assert apply(native, name, handle, key) == apply(twin, name, handle, key)
        assert native.peek() == twin.peek()
        assert len(native) == len(twin)
        assert (handle in native) == (handle in twin)
        if handle in twin:
            assert native.key(handle) == twin.key(handle)
        native.check()


def test_a_large_heap_pops_in_order() -> None:
    random_ = random.Random(1)
    heap = Heap()
    expected = []
    for handle in range(20_000):
        key = random_.randrange(5_000)
        heap.push(handle, key)
        expected.append((key, handle))
    gone = set(random_.sample(range(20_000), 9_000))
    for handle in gone:
        assert heap.remove(handle)
    heap.check()

    popped = [heap.pop() for _ in range(len(heap))]

    assert popped == [(handle, key) for key, handle in sorted(expected) if handle not in gone]
    assert heap.pop() is None
    heap.check()


@EITHER
def test_bad_arguments_are_refused(make: type[Heap | HeapTwin]) -> None:
    heap = make()
    heap.push(1, 1)

    with pytest.raises(KeyError):
        heap.push(1, 2)
    with pytest.raises(KeyError):
        heap.update(2, 2)
    with pytest.raises(KeyError):
        heap.key(2)
    with pytest.raises(OverflowError):
        heap.push(2, -1)
    with pytest.raises(OverflowError):
        heap.push(2**32 - 1, 1)

    assert heap.peek() == (1, 1)
    assert heap.memory_bytes() >= 0
    heap.check()
