"""The job table finds every record by id and by handle, and reuses what was freed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._native import JobTable
from headrace._native.reference import JobTable as JobTableTwin

EITHER = pytest.mark.parametrize("make", [JobTable, JobTableTwin], ids=["native", "twin"])
Table = JobTable | JobTableTwin

operations = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "remove", "set", "find", "read"]),
        st.integers(0, 120),
    ),
    max_size=250,
)


def job_id(number: int) -> bytes:
    return number.to_bytes(8, "big") + (number * 7).to_bytes(8, "little")


def apply(table: Table, name: str, number: int) -> object:
    try:
        if name == "add":
            return table.add(job_id(number), bytes([number, 0, 1]))
        if name == "remove":
            return table.remove(number)
        if name == "set":
            return table.set(number, bytes([number, 2, 3]))
        if name == "find":
            return table.find(job_id(number))
        return table.id(number), table.record(number)
    except (KeyError, IndexError) as error:
        return type(error), error.args


@given(operations)
@settings(max_examples=200, deadline=None)
def test_native_and_twin_agree(steps: list[tuple[str, int]]) -> None:
    native, twin = JobTable(3), JobTableTwin(3)
    for name, number in steps:
        assert apply(native, name, number) == apply(twin, name, number)
        assert len(native) == len(twin)
        native.check()
    assert list(native.ids()) == list(twin.ids())


@EITHER
def test_rows_added_together_have_handles_that_follow_each_other(
    make: type[JobTable | JobTableTwin],
) -> None:
    table = make(3)
    table.reserve(300)
    table.add(job_id(0), b"abc")
    rows = b"".join(job_id(number) + b"%03d" % number for number in range(1, 301))
    assert table.add_many(rows) == 1
    assert table.add_many(b"") == 301
    table.check()
    assert [table.find(job_id(number)) for number in range(301)] == list(range(301))
    assert table.record(256) == b"256"
    with pytest.raises(ValueError):
        table.add_many(b"a")
    table.remove(5)
    with pytest.raises(AssertionError):
        table.add_many(job_id(2_000) + b"abc")


@EITHER
def test_jobs_added_together_get_handles_as_one_by_one(make: type[Table]) -> None:
    table = make(3)
    table.add(job_id(1_000), b"abc")
    ids = b"".join(map(job_id, range(300)))
    records = b"".join(b"%03d" % number for number in range(300))
    assert table.add_alike(ids, records) == list(range(1, 301))
    assert table.add_alike(b"", b"") == []
    table.check()
    assert [table.find(job_id(number)) for number in range(300)] == list(range(1, 301))
    assert table.record(257) == b"256"
    table.remove(5)
    table.remove(9)
    assert table.add_alike(job_id(2_000) + job_id(500), b"abcdef") == [9, 5]
    assert (table.record(9), table.record(5)) == (b"abc", b"def")
    for known in (7, 500, 1_000, 2_000):
        with pytest.raises(KeyError):
            table.add_alike(job_id(known), b"abc")
    for bad in ((b"a", b"abc"), (job_id(1), b""), (job_id(1), b"abcd")):
        with pytest.raises(ValueError):
            table.add_alike(*bad)


@EITHER
@pytest.mark.parametrize("numbers", [(2, 1), (2, 2), (1, 3, 2)])
def test_rows_added_together_rise_from_the_last_one_on(
    make: type[JobTable | JobTableTwin], numbers: tuple[int, ...]
) -> None:
    for first in (0, 1):
        table = make(3)
        if first:
            table.add_many(job_id(numbers[0]) + b"abc")
        with pytest.raises(ValueError):
            table.add_many(b"".join(job_id(number) + b"abc" for number in numbers[first:]))


@pytest.mark.parametrize("reserved", [0, 1, 64, 65, 127, 1_000, 5_000])
def test_an_index_made_large_at_once_works_as_one_that_grew(reserved: int) -> None:
    table = JobTable(3)
    table.reserve(reserved)
    table.check()
    handles = [table.add(job_id(number), b"abc") for number in range(1_500)]
    table.check()
    for handle in handles[200:]:
        table.remove(handle)
    table.check()
    assert [table.find(job_id(number)) for number in range(200)] == handles[:200]


def test_a_large_table_grows_and_shrinks_without_losing_a_record() -> None:
    random_ = random.Random(2)
    table = JobTable(8)
    handles: dict[bytes, int] = {}
    for round_ in range(3):
        for number in range(20_000):
            id_ = job_id(random_.getrandbits(48) << 8 | round_)
            if id_ not in handles:
                handles[id_] = table.add(id_, number.to_bytes(8, "big"))
        table.check()
        for id_ in random_.sample(sorted(handles), len(handles) * 9 // 10):
            table.remove(handles.pop(id_))
        table.check()

    assert len(table) == len(handles)
    assert sorted(table.ids()) == sorted(handles)
    assert all(table.find(id_) == handle for id_, handle in handles.items())
    assert all(table.id(handle) == id_ for id_, handle in handles.items())


def test_a_job_costs_its_record_and_at_most_26_bytes_more() -> None:
    table = JobTable(64)
    for number in range(65_536):
        table.add(job_id(number), bytes(64))

    assert table.memory_bytes() / len(table) <= 64 + 26


@EITHER
def test_bad_arguments_are_refused_and_change_nothing(make: type[Table]) -> None:
    table = make(4)
    handle = table.add(job_id(1), b"once")

    with pytest.raises(KeyError):
        table.add(job_id(1), b"more")
    with pytest.raises(ValueError, match="16 bytes"):
        table.add(b"short", b"more")
    with pytest.raises(ValueError, match="4 bytes"):
        table.add(job_id(2), b"longer")
    with pytest.raises(ValueError, match="4 bytes"):
        table.set(handle, b"longer")
    for bad in (-1, handle + 1, 2**40):
        with pytest.raises(IndexError):
            table.record(bad)
    with pytest.raises(ValueError, match="positive"):
        make(0)

    assert table.record(handle) == b"once"
    assert table.find(job_id(2)) == -1
    assert table.record_bytes == 4
    table.check()
