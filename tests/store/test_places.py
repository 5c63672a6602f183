"""Places of candidates: ranges merge into one order, run by run."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import commit, finished, job_id_at, stored

from headrace.core.effects import Finished, JobFinished
from headrace.core.job import TERMINAL, Event, Status
from headrace.store import Store, layout, open_store, places
from headrace.store.contract import KeyValue, ListQuery, Order, Row
from headrace.store.memory import MemoryKeyValue
from headrace.store.places import Candidates, Run

PART = st.tuples(st.sets(st.integers(0, 40), max_size=25), st.integers(1, 6))


def in_runs(numbers: set[int], size: int, newest: bool) -> Iterator[Run]:
    ascending = [bytes([number]) for number in sorted(numbers)]
    runs = [ascending[at : at + size] for at in range(0, len(ascending), size)]
    if newest:
        ascending.reverse()
        runs = [ascending[at : at + size][::-1] for at in range(0, len(ascending), size)]
    yield from runs


@given(st.lists(PART, max_size=5), st.booleans())
def test_ranges_merge_into_one_order_with_each_place_once(
    parts: list[tuple[set[int], int]], newest: bool
) -> None:
    runs = list(places._merged([in_runs(*part, newest) for part in parts], newest))
    assert all(run == sorted(run) for run in runs)
    merged = [place for run in runs for place in (reversed(run) if newest else run)]
    expected = sorted({bytes([n]) for numbers, _ in parts for n in numbers}, reverse=newest)
    assert merged == expected


class Reads(MemoryKeyValue):
    """Says how many rows each scan wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[int] = []

    def scan(
        self,
        table: int,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int = 1_024,
        bytes_max: int = 1 << 22,
    ) -> list[Row]:
        self.wanted.append(limit)
        return super().scan(table, start, stop, reverse=reverse, limit=limit, bytes_max=bytes_max)


def places_of(kv: KeyValue, query: ListQuery, owners: frozenset[int] | None = None) -> list[bytes]:
    return [place for run in Candidates(kv, query, owners).runs() for place in run]


def test_few_rows_are_read_at_first_and_more_where_more_are_wanted() -> None:
    kv = Reads()
    store = Store(kv)
    store.restore()
    commit(store, *(stored(job_id_at(1, n), owner_id=n % 8) for n in range(4_000)))
    runs = Candidates(kv, ListQuery(), None).runs()
    kv.wanted.clear()
    assert len(next(runs)) == places.RUN_FIRST
    for _ in runs:
        pass
    assert kv.wanted[:4] == [128, 256, 512, 512]
    kv.wanted.clear()
    of_owners = Candidates(kv, ListQuery(), frozenset(range(8)))
    assert next(of_owners.runs())[0] == job_id_at(1, 3_999)
    assert kv.wanted[:8] == [16] * 8
    assert of_owners.owners is None


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("run_max", [1, 3, 512])
def test_ids_that_the_engine_knows_come_from_the_right_end(
    monkeypatch: pytest.MonkeyPatch, newest: bool, run_max: int
) -> None:
    monkeypatch.setattr(places, "RUN_MAX", run_max)
    known: Sequence[bytes] = [job_id_at(at_ms) for at_ms in range(1, 9)]
    query = ListQuery(
        statuses=frozenset({Status.RUNNING}),
        live_ids=known,
        newest_first=newest,
        submitted_after_ms=2,
        submitted_before_ms=8,
    )
    found = places_of(MemoryKeyValue(), query)
    assert found == sorted(known[1:7], reverse=newest)


@pytest.mark.parametrize("newest", [True, False])
def test_jobs_that_ended_at_once_are_in_the_order_of_their_ids_over_many_rows(
    store: Store, kv: KeyValue, newest: bool
) -> None:
    ended = {}
    for n in range(60):
        job_id, at_ms = job_id_at(1, n * 37 % 60), 100 + n // 25
        record = finished(job_id).finished.record
        end = Finished(Status.COMPLETED, at_ms, record)
        commit(store, stored(job_id), JobFinished(job_id, Event.COMPLETE, end))
        ended[layout.ms_key(at_ms) + job_id] = job_id
    query = ListQuery(order=Order.FINISHED, statuses=TERMINAL, newest_first=newest)
    expected = sorted(ended, reverse=newest)
    assert places_of(kv, query) == expected
    for cursor in expected[::7]:
        rest = places_of(kv, ListQuery(
            order=Order.FINISHED, statuses=TERMINAL, newest_first=newest, after=cursor
        ))  # fmt: skip
        assert rest == expected[expected.index(cursor) + 1 :]


def test_what_an_index_leaves_open_is_told() -> None:
    store = open_store(None)
    store.restore()
    commit(store, *(stored(job_id_at(1, n)) for n in range(200)), finished(job_id_at(1, 5)))
    completed = ListQuery(statuses=frozenset({Status.COMPLETED}))
    by_status = Candidates(store._kv, completed, frozenset({1}))
    assert (by_status.owners, by_status.statuses) == ({1}, None)
    live = Candidates(store._kv, ListQuery(statuses=frozenset({Status.QUEUED})), None)
    assert (live.owners, live.statuses) == (None, {Status.QUEUED})
    both = ListQuery(statuses=frozenset({Status.COMPLETED}), order=Order.SCHEDULED)
    assert Candidates(store._kv, both, None).statuses == both.statuses
