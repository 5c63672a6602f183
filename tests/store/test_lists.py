"""Lists: the right jobs, in order, page by page, from whichever index."""

import gc
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_samples import ENDINGS, commit, finished, job_id_at, stored

from headrace.core.effects import (
    Finished,
    JobChanged,
    JobDeleted,
    JobFinished,
    JobsCompleted,
    JobsStored,
    OwnerStored,
    Trail,
    ids_split,
)
from headrace.core.job import TERMINAL, Event, Job, Status
from headrace.store import Store, layout, lists, open_store
from headrace.store._new_rows import NewRows
from headrace.store.contract import KeyValue, ListQuery, Order, OrderTooWide, Page, walk
from headrace.store.layout import by_owner_key, by_status_key
from headrace.store.places import Candidates
from headrace.wire import limits
from headrace.wire.durations import rfc3339

OWNERS = {1: ("a", "ann"), 2: ("a", "bob"), 3: ("b", "cy")}


class Sample(msgspec.Struct):
    job_id: bytes
    at_ms: int
    owner_id: int
    status: Status
    attempt: int
    type: str
    queue: str
    name: str
    tags: list[str]
    zone: str
    scheduled_at_ms: int
    """0: at once."""
    finished_at_ms: int
    started_at_ms: int
    updated_at_ms: int
    priority: int


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
            zone=("", "eu", "us")[n * 2 % 3],
            scheduled_at_ms=0 if n % 4 else 900 + n * 37 % 500,
            finished_at_ms=2_000 + n * 31 % 70,
            started_at_ms=n * 13 % 40,
            updated_at_ms=1_500 + n * 11 % 60,
            priority=n * 3 % 10,
        )
        for n in range(count)
    ]


def fill(store: Store, jobs: list[Sample]) -> None:
    commit(store, *(OwnerStored(number, *who) for number, who in OWNERS.items()))
    for job in jobs:
        spec = {"id": "x", "name": job.name, "type": job.type, "queue": job.queue, "tags": job.tags}
        if job.zone:
            spec["requirements"] = {"labels": {"zone": job.zone}}
        if job.scheduled_at_ms:
            spec["scheduled_at"] = rfc3339(job.scheduled_at_ms)
        ended = job.status in TERMINAL
        live = Status.QUEUED if ended else job.status
        record = Job(
            job.job_id, live, job.priority, 1, job.owner_id, 7, 1_000, 1_000, 200, 2,
            attempt=job.attempt,
        )  # fmt: skip
        taken = JobsStored(
            job.owner_id,
            job.job_id,
            record.pack(),
            [msgspec.json.encode(spec)],
            scheduled=[(0, job.scheduled_at_ms)] if job.scheduled_at_ms else [],
        )
        commit(store, taken)
        if not ended:
            trail = Trail(updated_at_ms=job.updated_at_ms, started_at_ms=job.started_at_ms)
            commit(store, JobChanged(job.job_id, Event.LEASE, record.pack(), trail))
    together: dict[int, list[Sample]] = {}
    for job in jobs:
        if job.status is Status.COMPLETED:
            together.setdefault(job.finished_at_ms // 9, []).append(job)
        elif job.status in TERMINAL:
            end = Finished(job.status, job.finished_at_ms, record_of_end(job), job.started_at_ms)
            end.body = b"b" * 3_000
            commit(store, JobFinished(job.job_id, ENDINGS[job.status], end))
    for some in together.values():
        for job in some[1:]:
            job.finished_at_ms = some[0].finished_at_ms
        joined = b"".join(job.job_id for job in some)
        records = b"".join(map(record_of_end, some))
        started_at_ms = [job.started_at_ms for job in some]
        bodies = [b"b"] * len(some)
        at_ms = some[0].finished_at_ms
        commit(store, JobsCompleted(joined, records, at_ms, "w", started_at_ms, bodies))


def record_of_end(job: Sample) -> bytes:
    return Job(
        job.job_id, job.status, job.priority, 1, job.owner_id, 7, 1_000, 1_000, 200, 2,
        attempt=job.attempt,
    ).pack()  # fmt: skip


def place(job: Sample, order: Order) -> tuple[int, bytes]:
    """Say where a job stands in an order."""
    ended = job.status in TERMINAL
    first = {
        Order.CREATED: 0,
        Order.SCHEDULED: job.scheduled_at_ms or job.at_ms,
        Order.FINISHED: job.finished_at_ms,
        Order.STARTED: job.started_at_ms,
        Order.UPDATED: job.finished_at_ms if ended else job.updated_at_ms,
        Order.PRIORITY: job.priority,
    }
    return first[order], job.job_id


def matching(jobs: list[Sample], query: ListQuery) -> list[bytes]:
    """Say the same as the store, by looking at all jobs."""
    found = [
        job
        for job in jobs
        if (query.owner_id is None or job.owner_id == query.owner_id)
        and (query.tenant is None or OWNERS[job.owner_id][0] == query.tenant)
        and (query.statuses is None or job.status in query.statuses)
        and (not query.retrying_only or job.status is not Status.SCHEDULED or job.attempt > 0)
        and (query.types is None or job.type in query.types)
        and (query.queues is None or job.queue in query.queues)
        and (query.name is None or job.name == query.name)
        and (query.name_prefix is None or job.name.startswith(query.name_prefix))
        and query.tags.issubset(job.tags)
        and all(
            key == "zone" and job.zone and value in (None, job.zone) for key, value in query.labels
        )
        and (query.before_id is None or job.job_id < query.before_id)
        and (
            job.status in TERMINAL
            if query.order is Order.FINISHED
            or query.finished_after_ms is not None
            or query.finished_before_ms is not None
            else True
        )
        and (query.finished_after_ms is None or job.finished_at_ms >= query.finished_after_ms)
        and (query.finished_before_ms is None or job.finished_at_ms < query.finished_before_ms)
        and (query.submitted_after_ms is None or job.at_ms >= query.submitted_after_ms)
        and (query.submitted_before_ms is None or job.at_ms < query.submitted_before_ms)
    ]
    found.sort(key=lambda job: place(job, query.order), reverse=query.newest_first)
    return [job.job_id for job in found]


def pages(store: Store, query: ListQuery) -> list[Page]:
    found = [store.list_jobs(query)]
    while (cursor := found[-1].next) is not None:
        found.append(store.list_jobs(msgspec.structs.replace(query, after=cursor)))
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
    name=st.sampled_from([None, None, "name 1"]),
    name_prefix=st.sampled_from([None, None, "name", "name 2", "x"]),
    labels=st.frozensets(
        st.sampled_from([("zone", None), ("zone", "eu"), ("a", None)]), max_size=1
    ),
    order=st.sampled_from(Order),
    before_id=st.none() | st.sampled_from([job_id_at(1_100, 30), job_id_at(1_150, 1)]),
    finished_after_ms=st.none() | st.none() | st.integers(1_990, 2_080),
    finished_before_ms=st.none() | st.none() | st.integers(1_990, 2_080),
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
    assert ids(found) == expected, (query.order, query.newest_first)
    assert all(len(page.jobs) <= query.limit for page in found)


def test_listed_job_has_its_record_and_not_its_long_body(filled: Store) -> None:
    page = filled.list_jobs(ListQuery(statuses=frozenset({Status.FAILED}), limit=1))
    assert page.jobs[0].status is Status.FAILED
    assert page.jobs[0].finished is not None
    assert page.jobs[0].finished.body == b""


def test_a_list_leaves_nothing_to_the_garbage_collector(filled: Store) -> None:
    gc.collect()
    gc.disable()
    try:
        for query in (
            ListQuery(limit=5),
            ListQuery(tenant="a", statuses=frozenset({Status.FAILED, Status.QUEUED}), limit=2),
            ListQuery(owner_id=1, order=Order.SCHEDULED, newest_first=True),
            ListQuery(order=Order.FINISHED, name_prefix="name 1", limit=3),
            ListQuery(order=Order.PRIORITY),
        ):
            assert filled.list_jobs(query).jobs
        assert not [it for it in gc.get_objects() if isinstance(it, Candidates)]
    finally:
        gc.enable()


def test_full_page_has_a_cursor_and_the_last_page_has_none(filled: Store) -> None:
    found = pages(filled, ListQuery(limit=40))
    assert [len(page.jobs) for page in found] == [40, 40, 10]
    assert [page.next is None for page in found] == [False, False, True]


def test_page_that_ends_with_the_last_job_has_no_cursor(filled: Store) -> None:
    assert filled.list_jobs(ListQuery(limit=90)).next is None


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


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(query=queries, skip=st.integers(0, 100))
def test_jobs_that_are_passed_over_are_those_of_the_pages_before(
    filled: Store, query: ListQuery, skip: int
) -> None:
    query = msgspec.structs.replace(query, skip=skip)
    page = filled.list_jobs(query)
    found = matching(JOBS, query)
    assert page.skipped == min(skip, len(found))
    assert ids([page]) == found[skip : skip + query.limit]
    assert page.next is not None or not found[skip + query.limit :]


def test_a_page_behind_others_may_be_looked_for_as_long_as_the_first(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIST_EXAMINED_MAX", 30)
    every = matching(JOBS, ListQuery())
    page = filled.list_jobs(ListQuery(skip=20, limit=90))
    at = len(page.jobs) + 20
    assert (page.skipped, ids([page]), at >= 50) == (20, every[20:at], True)
    page = filled.list_jobs(ListQuery(skip=70, limit=90))
    assert (page.skipped, ids([page]), page.next) == (page.examined, [], every[page.examined - 1])
    assert 30 <= page.skipped < 70


def test_job_that_ends_while_it_is_listed_comes_once(filled: Store) -> None:
    ended = next(job for job in JOBS if job.status is Status.COMPLETED)
    query = ListQuery(
        statuses=frozenset({Status.RUNNING, Status.COMPLETED}), live_ids=[ended.job_id]
    )
    assert ids([filled.list_jobs(query)]).count(ended.job_id) == 1


def test_deleted_jobs_leave_nothing_in_the_index_of_ends_and_of_times_asked_for(
    filled: Store, kv: KeyValue
) -> None:
    ended = [job for job in JOBS if job.status in TERMINAL]
    for job in ended[::2]:
        commit(filled, JobDeleted(job.job_id, job.owner_id))
    left = {job.job_id for job in ended[1::2]}
    rows = [value[4:] for _, value in walk(kv, layout.BY_FINISHED)]
    assert {job_id for joined in rows for job_id in ids_split(joined)} == left
    planned = {job.job_id for job in JOBS if job.scheduled_at_ms} - {j.job_id for j in ended[::2]}
    assert {key[-16:] for key, _ in walk(kv, layout.BY_SCHEDULED)} == planned
    # In one commit: each sees what the one before has left.
    commit(filled, *(JobDeleted(job.job_id, job.owner_id) for job in ended[1::2]))
    assert list(walk(kv, layout.BY_FINISHED)) == []


def test_an_order_without_an_index_is_refused_where_there_are_too_many(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIST_SORTED_MAX", len(JOBS))
    assert len(filled.list_jobs(ListQuery(order=Order.PRIORITY)).jobs) == len(JOBS)
    monkeypatch.setattr(limits, "LIST_SORTED_MAX", len(JOBS) - 1)
    with pytest.raises(OrderTooWide):
        filled.list_jobs(ListQuery(order=Order.PRIORITY))
    few = ListQuery(order=Order.PRIORITY, statuses=frozenset({Status.FAILED}))
    assert ids([filled.list_jobs(few)]) == matching(JOBS, few)


def test_what_the_engine_knows_goes_before_the_jobs_of_an_owner(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIST_SORTED_MAX", 3)
    running = frozenset({Status.RUNNING})
    known = [job.job_id for job in JOBS if job.status is Status.RUNNING][-3:]
    query = ListQuery(tenant="a", statuses=running, live_ids=known, order=Order.STARTED)
    assert set(ids([filled.list_jobs(query)])) <= set(known)


def test_an_end_that_is_no_longer_the_jobs_counts_for_nothing(store: Store, kv: KeyValue) -> None:
    job_id = job_id_at(1)
    commit(store, stored(job_id), finished(job_id))
    [(key, _)] = walk(kv, layout.BY_FINISHED)
    old = key[:1] + layout.ms_key(3) + key[7:]
    kv.write(NewRows({layout.BY_FINISHED: {old: layout.seal(layout.BY_FINISHED, old, job_id)}}))
    assert ids(pages(store, ListQuery(order=Order.FINISHED))) == [job_id]


def test_jobs_of_an_owner_that_is_damaged_are_in_no_tenants_list(kv: KeyValue) -> None:
    store = Store(kv)
    store.restore()
    one_tenant = {1: ("a", "ann"), 2: ("a", "bob"), 3: ("a", "cy")}
    commit(store, *(OwnerStored(number, *who) for number, who in one_tenant.items()))
    commit(store, *(stored(job_id_at(number), owner_id=number) for number in one_tenant))
    assert len(ids(pages(store, ListQuery(tenant="a")))) == 3
    [(key, value)] = kv.scan(layout.OWNERS, layout.number_key(3))
    kv.write(NewRows({layout.OWNERS: {key: value[:-1] + b"!"}}))
    again = Store(kv)
    again.restore()
    assert ids(pages(again, ListQuery(tenant="a"))) == [job_id_at(2), job_id_at(1)]
    commit(again, OwnerStored(4, "a", "dee"))
    assert len(ids(pages(again, ListQuery(tenant="a")))) == 2


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


@pytest.mark.parametrize("bytes_max", [1, 300])
def test_filtered_page_that_ends_by_its_bytes_has_a_cursor(
    monkeypatch: pytest.MonkeyPatch, bytes_max: int
) -> None:
    monkeypatch.setattr(lists, "LIST_BYTES_MAX", bytes_max)
    store = open_store(None)
    store.restore()
    fill(store, JOBS)
    query = ListQuery(types=frozenset({"send"}), limit=90)
    assert ids(pages(store, query)) == matching(JOBS, query)


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
    kv.write(NewRows({number: {key: bytes([value[0] ^ 1]) + value[1:]}}))
    page = store.list_jobs(query)
    assert ([job.job_id for job in page.jobs], page.corrupt) == ([second, first], [first])
    kv.write(NewRows({number: {key: None, key[:-1] + b"\xee": value}}))
    page = store.list_jobs(query)
    assert [job.job_id for job in page.jobs] == [second]
    assert page.corrupt == [first[:-1] + b"\xee"]
