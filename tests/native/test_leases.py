"""Leases are found, fall due and end alike in the compiled table and in its twin."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._native import (
    Held,
    Holder,
    Job,
    JobTable,
    Lease,
    LeaseTable,
    Tokens,
    reference,
    reference_leases,
    span_bucket,
)
from headrace._native.reference import JobTable as JobTableTwin
from headrace._native.reference_leases import Held as HeldTwin
from headrace._native.reference_leases import Holder as HolderTwin
from headrace._native.reference_leases import Lease as LeaseTwin
from headrace._native.reference_leases import LeaseTable as LeaseTableTwin
from headrace._native.reference_text import Tokens as TokensTwin
from headrace.core.job import TRANSITIONS, Event, InvalidTransition, Status

KEY = b"k" * 16
NOW_MS = 5_000
WALL_MS = 1_700_000_000_000
LEASE_MS, GRACE_MS = 30, 10
GRANTED = (
    *("tokens", "job_ids", "records", "deadlines_at_ms", "by_class", "by_status"),
    *("reached", "waited_ms", "by_wait", "with_checkpoint", "with_deadline_to_start"),
)
ENDED = (
    *("count", "worker", "job_ids", "records", "started_at_ms"),
    *("by_class", "bytes_by_class", "by_status", "by_granted_ms"),
    *("with_webhook", "with_retention"),
)
LEASE = (
    *("handle", "job_id", "attempt", "epoch", "granted_ms", "expires_ms", "deadline_ms"),
    *("deadline_at_ms", "started_at_ms", "cancel_by_ms", "progress", "details", "log_bytes"),
    *("log_cut", "order", "told_ms", "ticket", "noted", "noted_ms", "unsaved"),
)


@pytest.fixture(autouse=True, scope="module")
def _twin_knows_the_same_life() -> None:
    reference.learn_life(Status, TRANSITIONS, InvalidTransition)


class Side:
    """A lease table over jobs that are ready, with the sessions of two workers."""

    def __init__(self, *, native: bool, jobs: int = 12) -> None:
        self.jobs: Any = JobTable(68) if native else JobTableTwin(68)
        self.tokens: Any = Tokens(KEY) if native else TokensTwin(KEY)
        self.table: Any = (LeaseTable if native else LeaseTableTwin)(self.jobs, self.tokens)
        self.lease: Any = Lease if native else LeaseTwin
        self.held: Any = [(Held if native else HeldTwin)() for _ in range(2)]
        make: Any = Holder if native else HolderTwin
        self.holders: list[Any] = [
            make("w0", "s0", 1, self.held[0]),
            make("w0", "s0", 2, self.held[0]),
            make("w1", "s1", 3, self.held[1]),
            make("w1"),
        ]
        for number in range(jobs):
            job = Job(
                (WALL_MS + NOW_MS - 100 + 20 * number).to_bytes(6, "big")
                + number.to_bytes(10, "big"),
                Status.RESUMING if number % 3 == 0 else Status.QUEUED,
                priority=number % 3,
                class_id=number // 4,
                owner_id=0,
                order=7 * number % 100,
                timeout_ms=5 * number,
                retry_delay_ms=0,
                retry_backoff_centi=100,
                retries_max=0,
                attempt=number % 2,
                due_ms=(0, NOW_MS, WALL_MS + NOW_MS - 50)[number % 3],
                due_is_wall=number % 3 == 2,
                start_before_at_ms=number % 5,
                has_checkpoint=number % 3 == 0,
                has_webhook=number % 5 == 0,
                has_retention=number % 7 == 0,
                spec_bytes=number % 12 * 70_000,
            )
            assert self.jobs.add(job.job_id, job.pack()) == number

    def grant(self, handles: list[int], holder: int, now_ms: int) -> Any:
        return self.table.grant(
            handles,
            Event.LEASE,
            7,
            self.holders[holder],
            now_ms,
            WALL_MS + now_ms,
            LEASE_MS,
            GRACE_MS,
        )

    def complete(
        self, tokens: list[str], start: int, now_ms: int, own: set[int] | None = None
    ) -> Any:
        joined = "".join(tokens).encode()
        return self.table.complete(joined, start, Event.COMPLETE, 1, now_ms, WALL_MS + now_ms, own)

    def token(self, handle: int) -> str:
        lease = self.table.of(handle)
        return self.table.token(lease) if lease is not None else "?" * 54

    def seen(self) -> Any:
        """Return all that can be seen of the leases."""
        return (
            [
                (told(lease, LEASE), lease.holder.worker, self.table.due_of(lease))
                for lease in self.table
            ],
            [[lease.handle for lease in held] for held in self.held],
            [len(held) for held in self.held],
            self.table.due_ms(),
            {job_id: self.jobs.record(self.jobs.find(job_id)) for job_id in self.jobs.ids()},
        )


def told(of: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), st.lists(st.integers(0, 11), unique=True), st.integers(0, 3)),
        st.tuples(
            st.just("complete"),
            st.lists(st.integers(0, 11)),
            st.tuples(st.integers(0, 2), st.none() | st.sets(st.integers(0, 2))),
        ),
        st.tuples(st.sampled_from(["drop", "add"]), st.integers(0, 11), st.integers(0, 3)),
        st.tuples(st.just("due"), st.integers(0, 11), st.integers(0, 100)),
        st.tuples(st.just("pop"), st.integers(0, 100), st.integers(0, 4)),
        st.tuples(st.just("started"), st.integers(0, 11), st.just(0)),
    ),
    max_size=30,
)


def take(side: Side, name: str, what: Any, more: int, now_ms: int) -> Any:
    table = side.table
    if name == "grant":
        handles = [
            handle
            for handle in what
            if handle in live(side)
            and table.of(handle) is None
            and side.jobs.load(handle).can(Event.LEASE)
        ]
        return told(side.grant(handles, more, now_ms), GRANTED)
    if name == "complete":
        start, own = more
        tokens = [side.token(handle) for handle in what]
        return told(side.complete(tokens, min(start, len(what)), now_ms, own), ENDED)
    if name == "pop":
        return [lease.handle for lease in table.pop_due(NOW_MS + what, more)]
    lease = table.of(what)
    if name == "add":
        if what not in live(side):
            return None
        job = side.jobs.load(what)
        new = side.lease(what, job.job_id, job.attempt, 7, side.holders[more], 1, 2, 3, 4, 5)
        try:
            return table.add(new, NOW_MS + what)
        except KeyError as error:
            return type(error)
    if lease is None:
        return None
    if name == "drop":
        table.drop(lease)
        return lease in table, table.due_of(lease)
    if name == "due":
        return table.due_set(lease, NOW_MS + more)
    lease.started_at_ms = WALL_MS - what
    return table.named(table.token(lease)) is lease


def live(side: Side) -> list[int]:
    return [side.jobs.find(job_id) for job_id in side.jobs.ids()]


@given(steps)
@settings(max_examples=200, deadline=None)
def test_native_and_twin_agree(taken: list[tuple[str, Any, int]]) -> None:
    native, twin = Side(native=True), Side(native=False)
    for number, (name, what, more) in enumerate(taken):
        now_ms = NOW_MS + number // 3
        assert take(native, name, what, more, now_ms) == take(twin, name, what, more, now_ms)
        native.table.check()
        native.jobs.check()
        assert native.seen() == twin.seen()
        assert len(native.table) == len(twin.table)


@pytest.fixture(params=[True, False], ids=["native", "twin"])
def side(request: pytest.FixtureRequest) -> Side:
    return Side(native=request.param)


@given(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5_000))
def test_durations_have_the_buckets_of_the_twin(span_ms: int) -> None:
    assert span_bucket(span_ms) == reference_leases.span_bucket(span_ms)


def test_powers_of_two_bound_the_buckets_of_durations() -> None:
    for power in range(40):
        assert span_bucket(2**power) < span_bucket(2**power + 1)
    assert span_bucket(2**40) == span_bucket(2**63 - 1) == reference_leases.SPAN_BUCKETS - 1


def test_jobs_are_leased_as_one_by_one(side: Side) -> None:
    done = side.grant([1, 2], 0, NOW_MS)
    jobs = [side.jobs.load(handle) for handle in (1, 2)]
    assert [(job.status, job.attempt, job.epoch, job.attempt_open) for job in jobs] == [
        (Status.LOCKED, 2, 7, True),
        (Status.LOCKED, 1, 7, True),
    ]
    assert done.records == b"".join(job.pack() for job in jobs)
    assert done.tokens.decode() == "".join(map(side.token, (1, 2)))
    assert done.deadlines_at_ms == [WALL_MS + NOW_MS + 5, WALL_MS + NOW_MS + 10]
    assert (done.by_class, done.by_status) == ({0: 2}, {Status.QUEUED: 2})
    first, second = side.table
    assert (side.table.due_of(first), side.table.due_of(second)) == (NOW_MS + 15, NOW_MS + 20)
    assert (first.log_bytes, second.log_bytes) == (-1, 0)


def test_a_job_that_cannot_be_leased_is_a_defect(side: Side) -> None:
    side.grant([1], 0, NOW_MS)
    with pytest.raises(InvalidTransition, match="LEASE in LOCKED"):
        side.grant([1], 0, NOW_MS)


def test_completion_stops_where_a_closer_look_is_needed(side: Side) -> None:
    side.grant([1, 2, 3], 0, NOW_MS)
    side.grant([4], 2, NOW_MS)
    side.table.drop(side.table.of(2))
    tokens = [side.token(handle) for handle in (1, 3, 4)]
    done = side.complete([tokens[0], tokens[0], tokens[1]], 0, NOW_MS + 9)
    assert (done.count, done.worker, side.jobs.find(bytes(15) + b"\1")) == (1, "w0", -1)
    assert side.complete(tokens, 0, NOW_MS).count == 0
    assert side.complete(["?" * 54], 0, NOW_MS).count == 0
    assert side.complete(tokens, 3, NOW_MS).count == 0
    done = side.complete(tokens, 1, NOW_MS + 9)
    assert (done.count, done.worker, done.started_at_ms) == (1, "w0", [WALL_MS + NOW_MS])
    done = side.complete(tokens, 2, NOW_MS + 9)
    assert (done.count, done.worker, done.by_granted_ms) == (1, "w1", {NOW_MS: 1})
    assert len(side.table) == 0


def test_completion_stops_before_a_job_of_none_of_the_classes_told(side: Side) -> None:
    side.grant([1, 2, 5, 6], 0, NOW_MS)
    tokens = [side.token(handle) for handle in (1, 2, 5, 6)]
    assert side.complete(tokens, 0, NOW_MS, set()).count == 0
    done = side.complete(tokens, 0, NOW_MS, {0, 7})
    assert (done.count, done.by_class) == (2, {0: 2})
    assert done.bytes_by_class == {0: 210_000}
    assert side.complete(tokens, 2, NOW_MS, {0}).count == 0
    assert side.complete(tokens, 2, NOW_MS, {1}).count == 2


def test_a_token_that_differs_anywhere_names_no_lease(side: Side) -> None:
    side.grant([1], 0, NOW_MS)
    token = side.token(1)
    assert side.table.named(token) is side.table.of(1)
    for at in range(len(token)):
        for char in "A_\xe9":
            changed = token[:at] + char + token[at + 1 :]
            assert changed == token or side.table.named(changed) is None
    assert side.table.named(token + "A") is None
    assert side.table.named("") is None


def test_a_lease_is_held_once(side: Side) -> None:
    side.grant([1], 0, NOW_MS)
    lease = side.table.of(1)
    with pytest.raises(AssertionError):
        side.table.add(lease, NOW_MS)
    side.table.drop(lease)
    for act in (side.table.drop, lambda lease: side.table.due_set(lease, 1)):
        with pytest.raises(AssertionError):
            act(lease)
    assert lease not in side.table
    side.table.add(lease, NOW_MS)
    assert [*side.held[0]] == [lease]


def test_bad_arguments_are_refused_and_change_nothing(side: Side) -> None:
    holder = side.holders[3]
    with pytest.raises(ValueError, match="16 bytes"):
        side.lease(0, b"short", 1, 1, holder, 0, 0, 0, 0)
    lease = side.lease(0, bytes(16), 1, 1, holder, 0, 0, 0, 0)
    with pytest.raises(OverflowError):
        side.table.add(lease, -1)
    assert lease not in side.table
    side.table.add(lease, 0)
    with pytest.raises(OverflowError):
        side.table.due_set(lease, -1)
    assert side.table.due_of(lease) == 0
    assert side.table.of(-1) is None
    with pytest.raises(TypeError):
        type(side.table)(type(side.jobs)(3), side.tokens)


def test_leases_outlive_their_table_without_their_sessions() -> None:
    side = Side(native=True)
    side.grant([1, 2], 0, NOW_MS)
    lease = side.table.of(1)
    del side.table
    assert [*side.held[0]] == []
    assert lease.handle == 1


def test_many_leases_take_no_more_memory_than_they_need() -> None:
    side = Side(native=True, jobs=10_000)
    side.grant([*range(10_000)], 0, NOW_MS)
    side.table.check()
    assert side.table.memory_bytes() / 10_000 <= 64
    assert "Lease(" in repr(side.table.of(5))
