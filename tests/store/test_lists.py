"""Lists: the right jobs, in order, page by page, from whichever index."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_samples import ENDINGS, commit, finished, job_id_at, stored

from headrace.core.effects import JobDeleted, OwnerStored
from headrace.core.job import TERMINAL, Status
from headrace.store import Store, layout, lists, open_store
from headrace.store.contract import KeyValue, ListQuery, Page
from headrace.store.layout import by_owner_key, by_status_key
from headrace.wire import limits

OWNERS = {1: ("a", "ann"), 2: ("a", "bob"), 3: ("b", "cy")}


class Sample(msgspec.Struct, frozen=True):
    job_id: bytes
    at_ms: int
    owner_id: int
    status: Status
    attempt: int
    type: str
    queue: str
    name: str
    tags: list[str]


def samples(count: int) -> list[Sample]:
    """Return jobs of all kinds; neighbours differ in everything."""
    statuses = list(Status)
    return [
        Sample(
            job_id=job_id_at(1_000 + n // 3 * 10, n),
            at_ms=1_000 + n // 3 * 10,
            owner_id=n * 7 % 3 + 1,
            status=statuses[n * 5 % len(statuses)],
            attempt=n // 3 % 2,
            type=("", "send", "resize")[n % 3],
            queue=("default", "slow")[n * 3 % 2],
            name=f"name {n % 4}",
            tags=["even", "odd"][n % 2 :][:1] + ["third"] * (n % 3 == 0),
        )
        for n in range(count)
    ]


def fill(store: Store, jobs: list[Sample]) -> None:
    commit(store, *(OwnerStored(number, *who) for number, who in OWNERS.items()))
    for job in jobs:
        spec = msgspec.json.encode(
            {"id": "x", "name": job.name, "type": job.type, "queue": job.queue, "tags": job.tags}
        )
        live = Status.QUEUED if job.status in TERMINAL else job.status
        owner_id, attempt = job.owner_id, job.attempt
        commit(
            store, stored(job.job_id, owner_id=owner_id, spec=spec, status=live, attempt=attempt)
        )
        if job.status in TERMINAL:
            commit(store, finished(job.job_id, job.status, b"b" * 3_000))


def matching(jobs: list[Sample], query: ListQuery) -> list[bytes]:
    """Say the same as the store, by looking at all jobs."""
    found = [
        job.job_id
        for job in jobs
        if (query.owner_id is None or job.owner_id == query.owner_id)
        and (query.tenant is None or OWNERS[job.owner_id][0] == query.tenant)
        and (query.statuses is None or job.status in query.statuses)
        and (not query.retrying_only or job.status is not Status.SCHEDULED or job.attempt > 0)
        and (query.types is None or job.type in query.types)
        and (query.queues is None or job.queue in query.queues)
        and (query.name is None or job.name == query.name)
        and query.tags.issubset(job.tags)
        and (query.submitted_after_ms is None or job.at_ms >= query.submitted_after_ms)
        and (query.submitted_before_ms is None or job.at_ms < query.submitted_before_ms)
    ]
    return sorted(found, reverse=query.newest_first)


def pages(store: Store, query: ListQuery) -> list[Page]:
    found = [store.list_jobs(query)]
    while (cursor := found[-1].next_id) is not None:
        found.append(store.list_jobs(msgspec.structs.replace(query, after_id=cursor)))
    return found


def ids(found: list[Page]) -> list[bytes]:
    return [job.job_id for page in found for job in page.jobs]


JOBS = samples(90)


@pytest.fixture
def filled(store: Store) -> Store:
    fill(store, JOBS)
    return store


subsets = st.none() | st.frozensets(st.sampled_from(Status), max_size=5)
instants = st.none() | st.integers(990, 1_310)
queries = st.builds(
    ListQuery,
    owner_id=st.sampled_from([None, None, 1, 2, 9]),
    tenant=st.sampled_from([None, None, "a", "b", "none"]),
    statuses=subsets,
    retrying_only=st.booleans(),
    types=st.none() | st.frozensets(st.sampled_from(["", "send", "none"]), min_size=1),
    queues=st.none() | st.just(frozenset({"slow"})),
    name=st.sampled_from([None, "name 1"]),
    tags=st.frozensets(st.sampled_from(["odd", "third"]), max_size=1),
    submitted_after_ms=instants,
    submitted_before_ms=instants,
    newest_first=st.booleans(),
    limit=st.integers(1, 40),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(query=queries, knows_live=st.booleans())
def test_any_query_finds_what_a_look_at_all_jobs_finds(
    filled: Store, query: ListQuery, knows_live: bool
) -> None:
    expected = matching(JOBS, query)
    if knows_live and query.statuses is not None:
        live = ListQuery(statuses=query.statuses - TERMINAL, retrying_only=query.retrying_only)
        query = msgspec.structs.replace(query, live_ids=sorted(matching(JOBS, live)))
    found = pages(filled, query)
    assert ids(found) == expected
    assert all(len(page.jobs) <= query.limit for page in found)


def test_listed_job_has_its_record_and_not_its_long_body(filled: Store) -> None:
    page = filled.list_jobs(ListQuery(statuses=frozenset({Status.FAILED}), limit=1))
    assert page.jobs[0].status is Status.FAILED
    assert page.jobs[0].finished is not None
    assert page.jobs[0].finished.body == b""


def test_full_page_has_a_cursor_and_the_last_page_has_none(filled: Store) -> None:
    found = pages(filled, ListQuery(limit=40))
    assert [len(page.jobs) for page in found] == [40, 40, 10]
    assert [page.next_id is None for page in found] == [False, False, True]


def test_page_that_ends_with_the_last_job_has_no_cursor(filled: Store) -> None:
    assert filled.list_jobs(ListQuery(limit=90)).next_id is None


def test_deleted_job_is_in_no_list(filled: Store) -> None:
    ended = next(job for job in JOBS if job.status in TERMINAL)
    commit(filled, JobDeleted(ended.job_id, ended.owner_id))
    by_all = (None, frozenset({ended.status}))
    for statuses in by_all:
        for owner_id in (None, ended.owner_id):
            found = pages(filled, ListQuery(statuses=statuses, owner_id=owner_id))
            assert ended.job_id not in ids(found)


def test_callers_word_on_a_live_job_is_taken(filled: Store) -> None:
    queued = next(job for job in JOBS if job.status is Status.QUEUED)
    running = frozenset({Status.RUNNING})
    found = filled.list_jobs(ListQuery(statuses=running, live_ids=[queued.job_id]))
    assert ids([found]) == [queued.job_id]


def test_callers_word_on_a_job_that_has_ended_is_not_taken(filled: Store) -> None:
    ended = next(job for job in JOBS if job.status in TERMINAL)
    running = frozenset({Status.RUNNING})
    found = filled.list_jobs(ListQuery(statuses=running, live_ids=[ended.job_id]))
    assert ids([found]) == []


def test_job_that_ends_while_it_is_listed_comes_once(filled: Store) -> None:
    ended = next(job for job in JOBS if job.status is Status.COMPLETED)
    query = ListQuery(
        statuses=frozenset({Status.RUNNING, Status.COMPLETED}), live_ids=[ended.job_id]
    )
    assert ids([filled.list_jobs(query)]).count(ended.job_id) == 1


# Cost -------------------------------------------------------------------------------------------


def test_page_ends_after_the_rows_it_may_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIST_EXAMINED_MAX", 50)
    store = open_store(None)
    store.restore()
    fill(store, JOBS)
    found = pages(store, ListQuery(name="no such name"))
    assert [page.examined for page in found] == [50, 40]
    assert ids(found) == []


def test_page_ends_after_the_bytes_it_may_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "LIST_BYTES_MAX", 1_000)
    store = open_store(None)
    store.restore()
    fill(store, JOBS)
    found = pages(store, ListQuery(limit=90))
    assert len(found) > 5
    assert ids(found) == matching(JOBS, ListQuery())


class CountingKeyValue:
    """Counts the rows read from each table."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv
        self.read: dict[int, int] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._kv, name)

    def scan(self, table: int, *args: object, **kwargs: object) -> Sequence[object]:
        rows = self._kv.scan(table, *args, **kwargs)  # type: ignore[arg-type]
        self.read[table] = self.read.get(table, 0) + len(rows)
        return rows


@pytest.mark.parametrize(
    ("query", "rows_max"),
    [
        (ListQuery(owner_id=3, limit=5), 130),
        (ListQuery(tenant="b", limit=5), 130),
        (ListQuery(statuses=frozenset({Status.FAILED}), limit=5), 130),
        (ListQuery(statuses=frozenset({Status.LOCKED}), live_ids=[JOBS[4].job_id]), 0),
        (ListQuery(limit=5), 130),
    ],
)
def test_list_reads_about_a_page_of_its_index(
    filled: Store, query: ListQuery, rows_max: int
) -> None:
    commit(filled, *(stored(job_id_at(5_000, n)) for n in range(3_000)))
    counting = CountingKeyValue(filled._kv)
    filled._kv = counting  # type: ignore[assignment]
    filled.list_jobs(query)
    assert sum(counting.read.values()) <= rows_max


def test_index_keys_sort_by_job_within_owner_and_status() -> None:
    first, second = job_id_at(1), job_id_at(2)
    assert by_owner_key(1, second) < by_owner_key(2, first)
    for status in ENDINGS:
        assert by_status_key(status, first) < by_status_key(status, second)


@pytest.mark.parametrize("table", ["BY_OWNER", "BY_STATUS"])
def test_corrupt_index_row_is_told(store: Store, kv: KeyValue, table: str) -> None:
    first, second = job_id_at(1), job_id_at(2)
    commit(store, stored(first), stored(second), finished(first), finished(second))
    number = layout.Table[table]
    (key, value), *_ = kv.scan(number)
    query = (
        ListQuery(owner_id=1)
        if table == "BY_OWNER"
        else ListQuery(statuses=frozenset({Status.COMPLETED}))
    )
    kv.write({number: {key: bytes([value[0] ^ 1]) + value[1:]}})
    page = store.list_jobs(query)
    assert ([job.job_id for job in page.jobs], page.corrupt) == ([second, first], [first])
    kv.write({number: {key: None, key[:-1] + b"\xee": value}})
    page = store.list_jobs(query)
    assert [job.job_id for job in page.jobs] == [second]
    assert page.corrupt == [first[:-1] + b"\xee"]
