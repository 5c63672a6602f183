"""Rows of one commit: what came last counts, and keys stand in the order of staging."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.store._new_rows import NewRows, put_completed, put_jobs, put_leased
from headrace.store._seals import seal

Model = dict[int, dict[bytes, bytes | None]]

keys = st.binary(max_size=2) | st.binary(min_size=7, max_size=20)
values = st.none() | st.binary(max_size=30)
steps = st.lists(st.tuples(st.sampled_from([0, 2, 200]), keys, values), max_size=80)


def held(rows: NewRows) -> Model:
    return {table: dict(rows.items(table)) for table in rows.tables()}


@given(steps, st.booleans())
def test_rows_are_those_of_a_dict_of_dicts(
    steps: list[tuple[int, bytes, bytes | None]], rising: bool
) -> None:
    rows, model = NewRows(), dict[int, dict[bytes, bytes | None]]()
    for table, key, value in sorted(steps, key=lambda step: step[1]) if rising else steps:
        assert rows.holds(table, key) == (key in model.get(table, {}))
        rows.set(table, key, value)
        model.setdefault(table, {})[key] = value
        assert rows.holds(table, key)
        assert rows.get(table, key, b"default") == value
    assert held(rows) == model
    assert rows.tables() == list(model)
    assert len(rows) == sum(map(len, model.values()))
    for table, changes in model.items():
        assert rows.items(table) == list(changes.items())
        assert rows.keys(table, b"\0") == [key for key in changes if key.startswith(b"\0")]
    assert held(NewRows(model)) == model


@pytest.mark.parametrize("shuffled", [False, True])
def test_many_rows_are_found_again(shuffled: bool) -> None:
    rows, model = NewRows(), dict[bytes, bytes | None]()
    for n in range(20_000):
        key = (n * 7_919 % 20_000 if shuffled else n).to_bytes(16, "big")
        value = None if n % 5 == 0 else key * (n % 9)
        rows.set(3, key, value)
        model[key] = value
    for n, key in enumerate(list(model)):
        if n % 3 == 0:
            model[key] = key if n % 2 else None
            rows.set(3, key, model[key])
    assert rows.items(3) == list(model.items())
    assert all(rows.get(3, key, b"") == value for key, value in model.items())
    assert not any(rows.holds(3, key[1:]) for key in model)


def test_values_of_any_size_stay_where_they_are() -> None:
    sizes = [0, 1, 16_000, 17_000, 1 << 20, 5 << 20, 3]
    rows = NewRows({4: {b"%d" % size: b"x" * size for size in sizes}})
    assert [value and len(value) for _, value in rows.items(4)] == [size or b"" for size in sizes]
    for size in sizes:
        rows.set(4, b"%d" % size, b"y" * (size + 1))
    assert rows.items(4) == [(b"%d" % size, b"y" * (size + 1)) for size in sizes]


def test_a_payload_is_sealed() -> None:
    rows = NewRows()
    rows.put(7, b"key", b"payload")
    assert rows.get(7, b"key") == seal(7, b"key", b"payload")
    rows.put(7, b"key", b"")
    assert rows.get(7, b"key") == seal(7, b"key", b"")


def test_what_is_not_there_has_no_value() -> None:
    rows = NewRows({2: {b"a": None}})
    assert (rows.get(2, b"b"), rows.get(3, b"a", 5), rows.items(3)) == (None, 5, [])
    assert not rows.holds(2, b"")
    assert not NewRows()
    assert rows


def test_tables_are_counted() -> None:
    rows = NewRows({table: {b"a": None} for table in range(32)})
    rows.set(31, b"b", None)
    with pytest.raises(ValueError):
        rows.set(32, b"a", None)


def test_link_has_checksums_and_deleted_keys_in_the_order_of_staging() -> None:
    assert NewRows().link() == b""
    rows = NewRows({200: {b"b": b"1234payload", b"a": None}, 2: {b"c": b"5678"}})
    assert rows.link() == b"\xc8" + b"1234" + b"a" + b"\x02" + b"5678"


TABLES = (2, 3, 5)

job_rows = st.lists(
    st.tuples(
        st.binary(min_size=16, max_size=16),
        st.binary(min_size=4, max_size=4),
        st.binary(max_size=40),
        st.none() | st.tuples(st.binary(max_size=255), st.binary(max_size=255)),
    ),
    max_size=6,
    unique_by=lambda row: row[0],
)


@given(job_rows, st.integers(0, 2**32 - 1))
def test_new_jobs_have_their_rows_in_three_tables(
    jobs: list[tuple[bytes, bytes, bytes, tuple[bytes, bytes] | None]], owner_id: int
) -> None:
    owner = owner_id.to_bytes(4, "big")
    expected: dict[int, dict[bytes, bytes | None]] = {table: {} for table in TABLES}
    for job_id, record, spec, digests in jobs:
        key, request = digests or (b"", b"")
        envelope = owner + bytes([len(key), len(request)]) + key + request + spec
        expected[2][job_id] = seal(2, job_id, envelope)
        expected[3][job_id] = seal(3, job_id, record)
        expected[5][owner + job_id] = seal(5, owner + job_id, b"")
    rows = NewRows()
    put_jobs(
        rows,
        TABLES,
        owner_id,
        b"".join(job_id for job_id, *_ in jobs),
        b"".join(record for _, record, *_ in jobs),
        [spec for *_, spec, _ in jobs],
        [(number, *job[3]) for number, job in enumerate(jobs) if job[3] is not None],
    )
    assert [rows.items(table) for table in TABLES] == [list(of.items()) for of in expected.values()]


@pytest.mark.parametrize(
    "wrong",
    [
        {"job_ids": bytes(31)},
        {"records": bytes(7)},
        {"keys": [(2, b"", b"")]},
        {"keys": [(1, b"", b""), (0, b"", b"")]},
        {"keys": [(0, bytes(256), b"")]},
        {"keys": [(0, b"", bytes(256))]},
    ],
)
def test_new_jobs_that_do_not_fit_together_are_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "rows": NewRows(),
        "tables": TABLES,
        "owner_id": 1,
        "job_ids": bytes(32),
        "records": bytes(8),
        "specs": [b"", b""],
        "keys": [(0, b"k", b"r"), (1, b"", b"")],
    }
    put_jobs(**right)
    with pytest.raises(ValueError):
        put_jobs(**{**right, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [{"job_ids": bytes(31)}, {"records": bytes(7)}, {"bodies": [b""]}, {"started_at_ms": [1]}],
)
def test_completed_jobs_that_do_not_fit_together_are_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "rows": NewRows(),
        "tables": (0, 1, 2, 3),
        "status": 10,
        "finished_at_ms": 5,
        "job_ids": bytes(32),
        "records": bytes(8),
        "started_at_ms": [1, 2],
        "worker": "w",
        "bodies": [b"", b""],
        "body_bytes_max": 10,
    }
    put_completed(**right)
    with pytest.raises(ValueError):
        put_completed(**{**right, **wrong})


@pytest.mark.parametrize("wrong", [{"job_ids": bytes(31)}, {"records": bytes(7)}])
def test_leased_jobs_that_do_not_fit_together_are_refused(wrong: dict[str, bytes]) -> None:
    right: dict[str, Any] = {"job_ids": bytes(32), "records": bytes(8), "trail": b"t"}
    put_leased(NewRows(), 3, **right)
    with pytest.raises(ValueError):
        put_leased(NewRows(), 3, **{**right, **wrong})
