import os
import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.ids import ID_BYTES, JobIds, first_id_at, id_parse, id_text


def test_ids_are_version_7_and_carry_the_time_and_the_slot() -> None:
    made = JobIds(os.urandom, slot=5).make(1_700_000_000_123)
    as_uuid = uuid.UUID(bytes=made)
    assert as_uuid.version == 7
    assert as_uuid.variant == uuid.RFC_4122
    assert int.from_bytes(made[:6], "big") == 1_700_000_000_123
    assert int.from_bytes(made[6:8], "big") & 0xFFF == 5


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=200))
def test_ids_rise_even_when_the_clock_goes_back(times: list[int]) -> None:
    ids = JobIds(random.Random(1).randbytes)
    made = [ids.make(time) for time in times]
    assert made == sorted(set(made))


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 40)), min_size=1, max_size=50))
def test_ids_made_together_rise_as_those_made_one_by_one(asked: list[tuple[int, int]]) -> None:
    ids = JobIds(random.Random(1).randbytes, slot=7)
    made = b"".join(ids.make_many(time, count) for time, count in asked)
    each = [made[at : at + ID_BYTES] for at in range(0, len(made), ID_BYTES)]
    assert len(each) == sum(count for _, count in asked)
    assert each == sorted(set(each))
    assert ids.make(0) > each[-1]
    for job_id in each:
        assert job_id[6:8] == b"\x70\x07"
        assert job_id[8] >> 6 == 2


def test_ids_made_together_borrow_a_millisecond_whole() -> None:
    ids = JobIds(lambda size: b"\xff" * size)
    first = ids.make(1_000)
    ids._rest = (1 << 62) - (3 << 32)
    made = ids.make_many(1_000, 3)
    assert first < made[:16] < made[16:32] < made[32:] < ids.make(0)
    assert {int.from_bytes(made[at : at + 6], "big") for at in (0, 16, 32)} == {1_001}


def test_a_millisecond_that_runs_full_borrows_from_the_next() -> None:
    ids = JobIds(lambda size: b"\xff" * size)
    first = ids.make(1_000)
    ids._rest = (1 << 62) - 1
    second = ids.make(1_000)
    assert second > first
    assert int.from_bytes(second[:6], "big") == 1_001


def test_the_text_of_an_id_is_read_back_and_is_that_of_a_uuid() -> None:
    made = JobIds(os.urandom).make(5)
    assert id_text(made) == str(uuid.UUID(bytes=made))
    assert id_parse(id_text(made)) == made
    assert id_parse(id_text(made).upper()) == made


@given(st.text(max_size=40))
def test_other_text_is_no_id(text: str) -> None:
    parsed = id_parse(text)
    assert parsed is None or len(parsed) == 16


def test_nearly_an_id_is_no_id() -> None:
    good = "01a200b8-6f79-7000-8422-e65ef4ed6da2"
    for bad in (good[:-1], good + "0", good.replace("-", ""), good.replace("a", "g"), f"{good}\n"):
        assert id_parse(bad) is None


def test_ids_rise_over_a_restart_even_when_the_wall_clock_went_back() -> None:
    last = JobIds(os.urandom).make_many(1_700_000_000_000, 50)[-16:]
    for wall_ms in (1_600_000_000_000, 1_700_000_000_000, 1_700_000_000_001):
        ids = JobIds(os.urandom, last)
        assert last < ids.make(wall_ms) < ids.make(wall_ms)


def test_first_id_of_a_time_is_never_out_of_range() -> None:
    assert first_id_at(-5) == bytes(16)
    assert first_id_at(1) == bytes(5) + b"\1" + bytes(10)
    assert first_id_at(1 << 60) == b"\xff" * 6 + bytes(10)
