"""Lists of jobs: an index that holds all matches in their order, then a filter.

    order               index
    created             the sparser of these two, of the first ids that each has:
                          BY_OWNER, a range for each owner named
                          BY_STATUS, a range for each final status named; the engine's ids, or
                          LIVE, for the live ones
                        SPEC, if neither is named
    scheduled           the same, merged with BY_SCHEDULED
    finished            BY_FINISHED, a range for each final status; for updated too, if only
                        finished jobs are asked for
    all others          as for created: all matches, and then in order; refused if that is too much

A candidate is its place in the order: its job's id, which is its time of submit, and before it, of
all other orders, 48 bits of what comes first. So places sort as bytes, ranges merge into one
order, and a cursor is a place. What no job asked for can be is found out without decoding it.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final, NamedTuple

import msgspec

from headrace.core.effects import ids_split
from headrace.core.ids import first_id_at
from headrace.core.job import TERMINAL, Job, Status
from headrace.store import layout
from headrace.store._rows import may_match
from headrace.store.contract import (
    KeyValue,
    ListQuery,
    Order,
    OrderTooWide,
    Page,
    RecordCorrupt,
    StoredJob,
    after,
    prefix_end,
    walk,
)
from headrace.store.layout import JOB_ID_BYTES, MS_BYTES, Envelope
from headrace.wire import limits
from headrace.wire.durations import instant_ms

CHUNK_JOBS: Final = 32
"""Jobs read in one read transaction; the rows of all of them are in memory at once."""
SIEVED_JOBS: Final = 512
"""Candidates that are looked at, at once, for what no match can lack: less than 1 ms."""
SIEVED_BYTES: Final = 1 * limits.MIB
"""Their specs, beyond the first few."""
LIST_BYTES_MAX: Final = 16 * limits.MIB
"""Specs that one page reads before it ends early."""
STEP_JOBS: Final = 128
"""Jobs decoded before others have their turn: about 1 ms."""
OWNERS_MERGED_MAX: Final = 64
"""A tenant with more users is filtered, not merged from one range a user."""
INDEX_PAGE: Final = 128
"""Index rows read at once: a page of a list often needs no more."""
FINISHED_PAGE: Final = 4
"""The same, of rows that have many ids."""
SAMPLE: Final = 64
"""First ids of two indexes by which the sparser is told."""
_JOB_TABLES: Final = (layout.SPEC, layout.LIVE, layout.DONE)


class _Requirements(msgspec.Struct, frozen=True):
    labels: dict[str, str] = {}


class _Filtered(msgspec.Struct):
    """The fields of a spec that a list can ask for."""

    name: str = ""
    type: str = ""
    queue: str = "default"
    tags: list[str] = []
    requirements: _Requirements = _Requirements()


class _Planned(msgspec.Struct):
    scheduled_at: str | None = None


_filtered_decode = msgspec.json.Decoder(_Filtered).decode
_planned_decode = msgspec.json.Decoder(_Planned).decode
_text: Final = msgspec.json.Encoder().encode


def scheduled_at_ms(spec: bytes) -> int | None:
    """Return when a job was asked to run; None for at once."""
    if b'"scheduled_at":' not in spec:
        return None
    at = _planned_decode(spec).scheduled_at
    return None if at is None else instant_ms(at)


def job_of(job_id: bytes, envelope: Envelope, live: bytes | None, done: bytes | None) -> StoredJob:
    """Put a job together from the payloads of its rows; `done` wins."""
    if done is not None:
        finished = layout.finished_unpack(done)
        return StoredJob(
            job_id, envelope.owner_id, envelope.spec, finished.record, finished=finished
        )
    assert live is not None
    record, trail = layout.live_unpack(live)
    return StoredJob(job_id, envelope.owner_id, envelope.spec, record, trail=trail)


def list_steps(
    kv: KeyValue, owners: dict[int, tuple[str, str]], query: ListQuery
) -> Iterator[Page | None]:
    """Yield None now and then, so that others have their turn, and at last the page.

    Cost: at most `LIST_EXAMINED_MAX` candidates and about `LIST_BYTES_MAX` of their specs.
    Raises: `OrderTooWide`.
    """
    return _List(kv, owners, query).steps()


class _Sieve(NamedTuple):
    """What the places of candidates leave open, and can be told without decoding them."""

    owners: frozenset[int] | None
    statuses: frozenset[Status] | None
    texts: list[list[bytes]]
    """Groups of texts, one of each of which the spec of a match has."""

    @property
    def needed(self) -> bool:
        return self.owners is not None or self.statuses is not None or bool(self.texts)


class _List:
    """One page in the making."""

    def __init__(self, kv: KeyValue, owners: dict[int, tuple[str, str]], query: ListQuery) -> None:
        statuses = query.statuses
        if query.finished_after_ms is not None or query.finished_before_ms is not None:
            statuses = TERMINAL if statuses is None else statuses & TERMINAL
        order = query.order
        if order is Order.UPDATED and statuses is not None and statuses <= TERMINAL:
            order = Order.FINISHED  # nothing changes afterwards
        if order is Order.FINISHED:
            statuses = TERMINAL if statuses is None else statuses & TERMINAL
        self.kv = kv
        self.query = msgspec.structs.replace(query, statuses=statuses, order=order)
        self.owners = _owners_of(owners, query)
        self.submitted = _bounds(self.query)
        """The range of ids: start inclusive, stop exclusive, None for no end."""
        self.ids = _behind(self.query, *self.submitted)
        """The same, of those that are still to come."""
        self.sieve = _Sieve(self.owners, statuses, _texts(query))
        self.corrupt: list[bytes] = []
        self.read_bytes = 0

    def steps(self) -> Iterator[Page | None]:
        query = self.query
        in_memory = query.order in _SORTED
        most = limits.LIST_SORTED_MAX if in_memory else limits.LIST_EXAMINED_MAX
        limit = most if in_memory else min(query.limit, limits.LIST_LIMIT_MAX)
        candidates = self._candidates()
        jobs: list[StoredJob] = []
        examined = work = 0
        wanted = CHUNK_JOBS
        last: bytes | None = None
        full = False
        while not full and (chunk := list(islice(candidates, min(wanted, most - examined)))):
            if full := len(jobs) == limit:
                break
            kept = self._sieved(chunk) if self.sieve.needed else chunk
            for place, rows in self._rows(kept):
                if full := len(jobs) == limit or self.read_bytes >= LIST_BYTES_MAX:
                    examined += chunk.index(place)
                    break
                last = place
                if (job := self._job(place, rows)) is not None:
                    jobs.append(job)
            else:
                last = chunk[-1]
                examined += len(chunk)
                full = examined >= most
            if self.sieve.needed:
                a_job = 1 + self.read_bytes // (examined + 1)
                wanted = min(2 * wanted, SIEVED_JOBS, max(CHUNK_JOBS, SIEVED_BYTES // a_job))
            work += len(chunk) + len(kept) * SIEVED_JOBS // STEP_JOBS
            if work >= SIEVED_JOBS:
                work = 0
                yield None
        if not in_memory:
            yield Page(jobs, last if full else None, examined, self.corrupt)
        elif full and (examined < most or next(candidates, None) is not None):
            raise OrderTooWide(query.order, examined)
        else:
            yield self._in_order(jobs, examined)

    def _in_order(self, jobs: list[StoredJob], examined: int) -> Page:
        """Return the page of an order that no index has, of all that match."""
        query = self.query
        key_of = _SORTED[query.order]
        by_place = {layout.ms_key(key_of(job)) + job.job_id: job for job in jobs}
        places = sorted(by_place, reverse=query.newest_first)
        if (cursor := query.after) is not None:
            newest = query.newest_first
            places = [place for place in places if (place < cursor if newest else place > cursor)]
        page = places[: min(query.limit, limits.LIST_LIMIT_MAX)]
        more = len(page) < len(places)
        found = [by_place[place] for place in page]
        return Page(found, page[-1] if more else None, examined, self.corrupt)

    # Candidates ---------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[bytes]:
        """Yield places in order, each once."""
        query = self.query
        if query.order is Order.FINISHED:
            assert query.statuses is not None
            self.sieve = self.sieve._replace(statuses=None)
            parts = [self._finished(status) for status in sorted(query.statuses)]
            return _merged(parts, query.newest_first)
        ids = self._created()
        if query.order is not Order.SCHEDULED:
            return ids
        planned = self._planned()
        self.sieve = self.sieve._replace(statuses=query.statuses)
        return _merged([(id_[:MS_BYTES] + id_ for id_ in ids), *planned], query.newest_first)

    def _created(self) -> Iterator[bytes]:
        """Yield ids from the index that seems to be the sparser."""
        owners, statuses, newest = self.owners, self.query.statuses, self.query.newest_first
        by_owner = owners is not None and len(owners) <= OWNERS_MERGED_MAX
        if owners is not None and by_owner:
            keys = [layout.number_key(owner_id) for owner_id in sorted(owners)]
            of_owners = _merged([self._ids(layout.BY_OWNER, key) for key in keys], newest)
        if statuses is not None:
            of_statuses = _merged(self._by_status(statuses), newest)
        known = self.query.live_ids
        if statuses is not None and known is not None and not statuses & TERMINAL:
            by_owner = by_owner and len(known) > limits.LIST_SORTED_MAX
        if by_owner and statuses is not None:
            of_owners, few = _sampled(of_owners)
            of_statuses, others = _sampled(of_statuses)
            by_owner = len(few) < SAMPLE or (
                len(others) == SAMPLE
                and few[-1] != others[-1]  # or all of the last ones are the owner's
                and (few[-1] < others[-1]) is newest
            )
        if by_owner:
            self.sieve = self.sieve._replace(owners=None)
            return of_owners
        if statuses is not None:
            if statuses <= TERMINAL or self.query.live_ids is not None:
                self.sieve = self.sieve._replace(statuses=None)
            return of_statuses
        return self._ids(layout.SPEC, b"")

    def _by_status(self, statuses: frozenset[Status]) -> list[Iterator[bytes]]:
        query = self.query
        parts = [
            self._ids(layout.BY_STATUS, status.to_bytes(1, "big"))
            for status in sorted(statuses & TERMINAL)
        ]
        if statuses <= TERMINAL:
            return parts
        if query.live_ids is not None:
            start, stop = self.ids
            known = reversed(query.live_ids) if query.newest_first else query.live_ids
            parts.append(id_ for id_ in known if start <= id_ and (stop is None or id_ < stop))
        else:
            parts.append(self._ids(layout.LIVE, b""))  # of whatever status
        return parts

    def _ids(self, table: int, prefix: bytes) -> Iterator[bytes]:
        """Yield the ids behind a prefix of an index.

        A corrupt index row is told, and its id is tried: of the key and the seal only one is wrong.
        """
        start, stop = self.ids
        if stop is not None and stop <= start:
            return
        end = prefix + stop if stop is not None else (prefix_end(prefix) if prefix else None)
        skip = len(prefix)
        newest = self.query.newest_first
        for key, value in walk(
            self.kv, table, prefix + start, end, reverse=newest, page=INDEX_PAGE
        ):
            job_id = key[skip:]
            if table not in _JOB_TABLES:  # whose rows are looked at anyway
                self._check(table, key, value, job_id)
            yield job_id

    def _check(self, table: int, key: bytes, value: bytes, job_id: bytes) -> None:
        try:
            layout.unseal(table, key, value)
        except RecordCorrupt:
            self.corrupt.append(job_id)

    def _planned(self) -> list[Iterator[bytes]]:
        """Return the places of jobs that were asked for at a time, in ranges."""
        owners = self.owners
        if owners is None or len(owners) > OWNERS_MERGED_MAX:
            return [self._planned_of(layout.ANY_OWNER)]
        return [self._planned_of(layout.number_key(owner_id)) for owner_id in sorted(owners)]

    def _planned_of(self, owner: bytes) -> Iterator[bytes]:
        table, newest, cursor = layout.BY_SCHEDULED, self.query.newest_first, self.query.after
        start, stop = owner, prefix_end(owner)
        if cursor is not None:
            start, stop = (start, owner + cursor) if newest else (owner + after(cursor), stop)
        for key, value in walk(self.kv, table, start, stop, reverse=newest, page=INDEX_PAGE):
            self._check(table, key, value, key[-JOB_ID_BYTES:])
            yield key[len(owner) :]

    def _finished(self, status: Status) -> Iterator[bytes]:
        """Yield the places of jobs that ended so; those that ended at once, by their ids."""
        query = self.query
        table, newest, cursor = layout.BY_FINISHED, query.newest_first, query.after
        prefix = status.to_bytes(1, "big")
        start, stop = prefix, prefix_end(prefix)
        if (at := query.finished_after_ms) is not None:
            start = prefix + layout.ms_key(at)
        if (at := query.finished_before_ms) is not None:
            stop = prefix + layout.ms_key(at)
        if cursor is not None:
            at_once = prefix + cursor[:MS_BYTES]
            if newest:
                end = prefix_end(at_once)
                stop = end if stop is None or (end is not None and end < stop) else stop
            else:
                start = max(start, at_once)
        at_once, places = b"", list[bytes]()
        for key, value in walk(self.kv, table, start, stop, reverse=newest, page=FINISHED_PAGE):
            if not key.startswith(at_once) or not at_once:
                yield from _beyond(cursor, places, newest)
                at_once, places = key[: 1 + MS_BYTES], []
            try:
                ids = ids_split(layout.unseal(table, key, value))
            except RecordCorrupt:
                self.corrupt.append(key[1 + MS_BYTES :][:JOB_ID_BYTES])
                continue
            places += (key[1 : 1 + MS_BYTES] + job_id for job_id in ids)
        yield from _beyond(cursor, places, newest)

    # The filter ---------------------------------------------------------------------------------

    def _sieved(self, places: list[bytes]) -> list[bytes]:
        """Return the candidates that may match; rows that fail their checksum among them."""
        sieve = self.sieve
        if sieve.statuses is not None:
            places = self._of_statuses(places, sieve.statuses)
        if not places or (sieve.owners is None and not sieve.texts):
            return places
        ids = [place[-JOB_ID_BYTES:] for place in places]
        values = self.kv.get_column(layout.SPEC, ids)
        self.read_bytes += sum([len(value) for value in values if value is not None])
        kept = may_match(layout.SPEC, ids, values, sieve.owners, sieve.texts)
        return [places[at] for at in kept]

    def _of_statuses(self, places: list[bytes], statuses: frozenset[Status]) -> list[bytes]:
        ids = [place[-JOB_ID_BYTES:] for place in places]
        ended = statuses & TERMINAL
        found: set[bytes] = set()
        if statuses != ended:
            for job_id, value in zip(ids, self.kv.get_column(layout.LIVE, ids), strict=True):
                if value is None:
                    continue
                if _contains(self.query.live_ids, job_id) or not self._other(
                    job_id, value, statuses
                ):
                    found.add(job_id)
        for status in ended:
            keys = [layout.by_status_key(status, job_id) for job_id in ids]
            rows = self.kv.get_column(layout.BY_STATUS, keys)
            found |= {id_ for id_, row in zip(ids, rows, strict=True) if row is not None}
        return [place for place in places if place[-JOB_ID_BYTES:] in found]

    def _other(self, job_id: bytes, value: bytes, statuses: frozenset[Status]) -> bool:
        """Say whether a live job is surely in another status."""
        try:
            record = layout.unseal(layout.LIVE, job_id, value)
        except RecordCorrupt:
            return False
        return layout.record_status(record) not in statuses

    def _rows(self, places: list[bytes]) -> Iterator[tuple[bytes, tuple[bytes | None, ...]]]:
        """Yield candidates with their sealed rows of SPEC, LIVE and DONE."""
        for at in range(0, len(places), CHUNK_JOBS):
            chunk = places[at : at + CHUNK_JOBS]
            # By table: jobs that follow each other lie close together there.
            values = self.kv.get_many(
                [(table, place[-JOB_ID_BYTES:]) for table in _JOB_TABLES for place in chunk]
            )
            columns = [values[at : at + len(chunk)] for at in range(0, len(values), len(chunk))]
            yield from zip(chunk, zip(*columns, strict=True), strict=True)

    def _job(self, place: bytes, rows: tuple[bytes | None, ...]) -> StoredJob | None:
        spec, live, done = rows
        if spec is None:
            return None  # deleted since its index row was read
        self.read_bytes += len(spec)
        job_id = place[-JOB_ID_BYTES:]
        try:
            return self._match(place, job_id, spec, live, done)
        except (RecordCorrupt, msgspec.MsgspecError):
            if job_id not in self.corrupt:
                self.corrupt.append(job_id)
            return None

    def _match(
        self, place: bytes, job_id: bytes, spec: bytes, live: bytes | None, done: bytes | None
    ) -> StoredJob | None:
        """Return the job if it matches. Raises `RecordCorrupt` for any of its rows."""
        query = self.query
        if live is None and done is None:
            raise RecordCorrupt(layout.LIVE, job_id)
        envelope = layout.envelope_unpack(layout.unseal(layout.SPEC, job_id, spec))
        if live is not None:
            live = layout.unseal(layout.LIVE, job_id, live)
        if done is not None:
            done = layout.unseal(layout.DONE, job_id, done)
        job = job_of(job_id, envelope, live, done)
        if self.owners is not None and job.owner_id not in self.owners:
            return None
        start, stop = self.submitted
        if job_id < start or (stop is not None and job_id >= stop):
            return None
        vouched = job.finished is None and _contains(query.live_ids, job_id)
        if not vouched and not _status_matches(query, job):
            return None
        if not _end_matches(query, job) or not _spec_matches(query, envelope.spec):
            return None
        key_of = _PLACED.get(query.order)
        if key_of is not None and place[:MS_BYTES] != layout.ms_key(key_of(job)):
            return None  # an old place, or that of its submit where another counts
        return job


def _owners_of(owners: dict[int, tuple[str, str]], query: ListQuery) -> frozenset[int] | None:
    """Return the owners asked for; None for any."""
    if query.owner_id is not None:
        if query.tenant is not None and owners.get(query.owner_id, ("",))[0] != query.tenant:
            return frozenset()
        return frozenset({query.owner_id})
    if query.tenant is not None:
        return frozenset(number for number, who in owners.items() if who[0] == query.tenant)
    return None


# Places -----------------------------------------------------------------------------------------


def _bounds(query: ListQuery) -> tuple[bytes, bytes | None]:
    start = b"" if (at := query.submitted_after_ms) is None else first_id_at(at)
    stops = [] if query.before_id is None else [query.before_id]
    if (at := query.submitted_before_ms) is not None:
        stops.append(first_id_at(at))
    return start, min(stops, default=None)


def _behind(query: ListQuery, start: bytes, stop: bytes | None) -> tuple[bytes, bytes | None]:
    """Narrow a range of ids to those behind the cursor."""
    cursor = query.after
    if cursor is None or query.order not in (Order.CREATED, Order.SCHEDULED):
        return start, stop
    at, here = cursor[:MS_BYTES], cursor[-JOB_ID_BYTES:]
    if here[:MS_BYTES] == at:
        first = here if query.newest_first else after(here)
    else:  # it stands among the jobs submitted at that time, by its id before or behind them all
        first = first_id_at(int.from_bytes(at, "big") + (here[:MS_BYTES] > at))
    if query.newest_first:
        return start, first if stop is None else min(stop, first)
    return max(start, first), stop


def _merged(parts: Sequence[Iterator[bytes]], newest: bool) -> Iterator[bytes]:
    """Merge ordered places; one that ends while the list is made may come twice, is kept once."""
    merged: Iterable[bytes] = parts[0] if len(parts) == 1 else heapq.merge(*parts, reverse=newest)
    last = b""
    for place in merged:
        if place != last:
            last = place
            yield place


def _sampled(places: Iterator[bytes]) -> tuple[Iterator[bytes], list[bytes]]:
    """Return the same again, and the first of them."""
    first = list(islice(places, SAMPLE))
    return chain(first, places), first


def _beyond(cursor: bytes | None, places: list[bytes], newest: bool) -> Iterator[bytes]:
    for place in sorted(places, reverse=newest):
        if cursor is None or (place < cursor if newest else place > cursor):
            yield place


def _created_ms(job: StoredJob) -> int:
    return int.from_bytes(job.job_id[:MS_BYTES], "big")


def _scheduled_ms(job: StoredJob) -> int:
    at_ms = scheduled_at_ms(job.spec)
    return _created_ms(job) if at_ms is None else at_ms


def _finished_ms(job: StoredJob) -> int:
    return 0 if job.finished is None else job.finished.finished_at_ms


def _started_ms(job: StoredJob) -> int:
    if job.finished is not None:
        return job.finished.started_at_ms
    return 0 if job.trail is None else job.trail.started_at_ms


def _updated_ms(job: StoredJob) -> int:
    if job.finished is not None:
        return job.finished.finished_at_ms
    return (0 if job.trail is None else job.trail.updated_at_ms) or _created_ms(job)


def _priority(job: StoredJob) -> int:
    return Job.unpack(job.job_id, job.record).priority


_PLACED: Final[dict[Order, Callable[[StoredJob], int]]] = {
    Order.SCHEDULED: _scheduled_ms,
    Order.FINISHED: _finished_ms,
}
"""What stands before the id in the places of an index."""
_SORTED: Final[dict[Order, Callable[[StoredJob], int]]] = {
    Order.STARTED: _started_ms,
    Order.UPDATED: _updated_ms,
    Order.PRIORITY: _priority,
}
"""The same of orders that no index has."""
assert {Order.CREATED, *_PLACED, *_SORTED} == set(Order)


# The filter -------------------------------------------------------------------------------------


def _texts(query: ListQuery) -> list[list[bytes]]:
    """Return what the spec of a match holds: one text of each group. As `core.intake` encodes."""
    groups: list[list[bytes]] = []
    if query.types is not None and "" not in query.types:
        groups.append([b'"type":' + _text(word) for word in query.types])
    if query.queues is not None and _Filtered().queue not in query.queues:
        groups.append([b'"queue":' + _text(word) for word in query.queues])
    if query.name is not None:
        groups.append([b'"name":' + _text(query.name)])
    if query.name_prefix is not None:
        groups.append([b'"name":' + _text(query.name_prefix)[:-1]])
    groups += ([_text(tag)] for tag in query.tags)
    for key, value in query.labels:
        groups.append([_text(key) + b":" + (b"" if value is None else _text(value))])
    return groups


def _contains(ascending: Sequence[bytes] | None, job_id: bytes) -> bool:
    if ascending is None:
        return False
    at = bisect_left(ascending, job_id)
    return at < len(ascending) and ascending[at] == job_id


def _status_matches(query: ListQuery, job: StoredJob) -> bool:
    status = job.status
    if query.statuses is not None and status not in query.statuses:
        return False
    if query.retrying_only and status is Status.SCHEDULED:
        return layout.record_attempt(job.record) > 0
    return True


def _end_matches(query: ListQuery, job: StoredJob) -> bool:
    from_ms, to_ms = query.finished_after_ms, query.finished_before_ms
    if from_ms is None and to_ms is None:
        return True
    if job.finished is None:
        return False
    at_ms = job.finished.finished_at_ms
    return (from_ms is None or at_ms >= from_ms) and (to_ms is None or at_ms < to_ms)


def _spec_matches(query: ListQuery, spec: bytes) -> bool:
    if (
        query.types is None
        and query.queues is None
        and query.name is None
        and query.name_prefix is None
        and not query.tags
        and not query.labels
    ):
        return True
    fields = _filtered_decode(spec)
    labels = fields.requirements.labels
    return (
        (query.types is None or fields.type in query.types)
        and (query.queues is None or fields.queue in query.queues)
        and (query.name is None or fields.name == query.name)
        and (query.name_prefix is None or fields.name.startswith(query.name_prefix))
        and query.tags.issubset(fields.tags)
        and all(
            key in labels and (value is None or labels[key] == value) for key, value in query.labels
        )
    )
