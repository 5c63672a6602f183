"""Lists: candidates in their order, then a filter, then a page.

What no job asked for can be is found out without decoding it: candidates are sieved by the bytes of
their rows, many at once, and what is left is read, put together and looked at.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Final

import msgspec

from headrace.core.job import TERMINAL, Job, Status
from headrace.store import layout
from headrace.store._rows import may_be, may_match, unseal_jobs
from headrace.store.contract import KeyValue, ListQuery, Order, OrderTooWide, Page, StoredJob
from headrace.store.layout import JOB_ID_BYTES, JOB_TABLES, MS_BYTES
from headrace.store.places import Candidates, bounds
from headrace.wire import limits
from headrace.wire.durations import instant_ms

CHUNK_JOBS: Final = 32
"""Candidates looked at together, at first; the rows of all of them are in memory at once."""
CHUNK_JOBS_MAX: Final = 512
"""The same where they are small: less than 1 ms."""
CHUNK_BYTES: Final = 1 * limits.MIB
"""Their specs, beyond the first few."""
LIST_BYTES_MAX: Final = 16 * limits.MIB
"""Specs that one page reads before it ends early."""
OWNERS_ASKED_MAX: Final = 4
"""For so many owners BY_OWNER is asked, row by row; for more of them the specs are read."""


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


def list_steps(kv: KeyValue, query: ListQuery, owners: Set[int] | None) -> Iterator[Page | None]:
    """Yield None now and then, so that others may have their turn, and at last the page.

    `owners`: those that the query means; None: all there are.
    Cost: at most `LIST_EXAMINED_MAX` candidates and about `LIST_BYTES_MAX` of their specs.
    Raises: `OrderTooWide`.
    """
    return _List(kv, query, owners).steps()


class _List:
    """One page in the making."""

    def __init__(self, kv: KeyValue, query: ListQuery, owners: Set[int] | None) -> None:
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
        self.checks = _checks(self.query, owners)
        self.are_all_meant = order is Order.CREATED and not _looks_inside(self.query)
        """What the index and the sieve leave is asked for, if its rows are sound. Those to be
        passed over are not looked at: behind a corrupt one, a page begins one job early."""
        self.texts = _texts(query)
        """Groups of texts, one of each of which the spec of a match has."""
        self.candidates = Candidates(kv, self.query, owners)
        self.corrupt = self.candidates.corrupt
        self.jobs: list[StoredJob] = []
        self.skip = query.skip
        """Those that match and are still to be passed over."""
        self.limit = min(query.limit, limits.LIST_LIMIT_MAX)
        self.chunk = CHUNK_JOBS
        self.read = self.read_bytes = 0
        """Specs that were read, and their length."""
        self.looked_bytes = 0
        """Of those that the sieve has let through."""

    def steps(self) -> Iterator[Page | None]:
        return self._all() if self.query.order in _SORTED else self._first()

    def _first(self) -> Iterator[Page | None]:
        """Make a page of the first that match, in an order that an index has."""
        most = limits.LIST_EXAMINED_MAX
        skips = self.skip > 0
        examined = 0
        last: bytes | None = None
        for chunk in self._chunks(self.candidates.runs()):
            if skips and not self.skip:
                skips, most = False, examined + limits.LIST_EXAMINED_MAX
            if (
                len(self.jobs) == self.limit
                or examined >= most
                or self.read_bytes >= LIST_BYTES_MAX
            ):
                break
            some = chunk if skips else chunk[: most - examined]
            kept = self._sieved(some)
            looked_at = self._look(kept)
            if looked_at < len(kept):
                examined += some.index(kept[looked_at])
                last = kept[looked_at - 1] if looked_at else last
                break
            last = some[-1]
            examined += len(some)
            yield None
        else:
            last = None if examined < most else last
        yield Page(self.jobs, last, examined, self.query.skip - self.skip, self.corrupt)

    def _all(self) -> Iterator[Page | None]:
        """Make a page of an order that no index has, of all that match."""
        query = self.query
        most = limits.LIST_SORTED_MAX
        places: list[bytes] = []
        for run in self.candidates.runs():
            places += run
            if len(places) > most:
                raise OrderTooWide(query.order, most)
        self.limit, self.skip = most, 0
        for chunk in self._chunks(iter([places])):
            kept = self._sieved(chunk)
            if self._look(kept) < len(kept) or self.read_bytes >= LIST_BYTES_MAX:
                raise OrderTooWide(query.order, len(self.jobs))
            yield None
        key_of = _SORTED[query.order]
        by_place = {layout.ms_key(key_of(job)) + job.job_id: job for job in self.jobs}
        in_order = sorted(by_place, reverse=query.newest_first)
        if (cursor := query.after) is not None:
            newest = query.newest_first
            in_order = [at for at in in_order if (at < cursor if newest else at > cursor)]
        skipped = min(query.skip, len(in_order))
        end = skipped + min(query.limit, limits.LIST_LIMIT_MAX)
        last = in_order[end - 1] if end < len(in_order) else None
        found = [by_place[place] for place in in_order[skipped:end]]
        yield Page(found, last, len(places), skipped, self.corrupt)

    def _chunks(self, runs: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
        """Yield candidates, as many at once as their specs allow."""
        for run in runs:
            at = 0
            while at < len(run):
                chunk = run[at : at + self.chunk]
                yield chunk
                at += len(chunk)
                a_job = 1 + self.read_bytes // (1 + self.read)
                self.chunk = min(
                    2 * self.chunk, CHUNK_JOBS_MAX, max(CHUNK_JOBS, CHUNK_BYTES // a_job)
                )

    # The filter ---------------------------------------------------------------------------------

    def _sieved(self, places: list[bytes]) -> list[bytes]:
        """Return the candidates that may match; rows that fail their checksum among them."""
        owners, statuses = self.candidates.owners, self.candidates.statuses
        if statuses is not None:
            places = self._of_statuses(places, statuses)
        if owners is not None and len(owners) <= OWNERS_ASKED_MAX:
            # A hundred of its rows share a page; those that are not there, the few between them.
            places, owners = self._of_owners(places, owners), None
        if not places or (owners is None and not self.texts):
            return places
        ids = _ids_of(places)
        [specs] = self.kv.get_columns((layout.SPEC,), ids)
        self.read += len(ids)
        self.read_bytes += sum([len(spec) for spec in specs if spec is not None])
        return [places[at] for at in may_match(layout.SPEC, ids, specs, owners, self.texts)]

    def _of_statuses(self, places: list[bytes], statuses: frozenset[Status]) -> list[bytes]:
        ids = _ids_of(places)
        ended = statuses & TERMINAL
        found: set[int] = set()
        if statuses != ended:
            [rows] = self.kv.get_columns((layout.LIVE,), ids)
            found.update(may_be(layout.LIVE, ids, rows, statuses - ended))
            if (known := self.query.live_ids) is not None:
                vouched = [at for at, job_id in enumerate(ids) if _contains(known, job_id)]
                found.update(at for at in vouched if rows[at] is not None)
        for status in ended:
            keys = [layout.by_status_key(status, job_id) for job_id in ids]
            [rows] = self.kv.get_columns((layout.BY_STATUS,), keys)
            found.update(at for at, row in enumerate(rows) if row is not None)
        return [places[at] for at in sorted(found)]

    def _of_owners(self, places: list[bytes], owners: Set[int]) -> list[bytes]:
        ids = _ids_of(places)
        found: set[int] = set()
        for owner_id in owners:
            keys = [layout.by_owner_key(owner_id, job_id) for job_id in ids]
            [rows] = self.kv.get_columns((layout.BY_OWNER,), keys)
            found.update(at for at, row in enumerate(rows) if row is not None)
        return [places[at] for at in sorted(found)]

    def _look(self, places: list[bytes]) -> int:
        """Add the jobs that match, until the page is full; return how many were looked at."""
        at = 0
        if self.skip and self.are_all_meant:
            at = min(self.skip, len(places))
            self.skip -= at
        while at < len(places) and len(self.jobs) < self.limit:
            wanted = self.skip or self.limit - len(self.jobs)
            some = places[at : at + min(self.chunk if self.read else CHUNK_JOBS, wanted)]
            looked_at, found = self._read(some)
            if self.skip:
                self.skip -= len(self._matching(found))
            else:
                self.jobs += self._matching(found)
            at += looked_at
            if looked_at < len(some):
                break
        return at

    def _read(self, places: list[bytes]) -> tuple[int, list[tuple[bytes, StoredJob]]]:
        """Read candidates until it is much; return how many, and those that are there and sound."""
        ids = _ids_of(places)
        specs, lives, dones = self.kv.get_columns(JOB_TABLES, ids)
        found: list[tuple[bytes, StoredJob]] = []
        looked_at, looked_bytes = 0, self.looked_bytes
        jobs = unseal_jobs(JOB_TABLES, ids, specs, lives, dones)
        for place, job in zip(places, jobs, strict=True):
            if looked_bytes >= LIST_BYTES_MAX:
                break
            looked_at += 1
            if isinstance(job, StoredJob):
                looked_bytes += len(job.spec)
                found.append((place, job))
            elif job is not None:  # or it was deleted since its index row was read
                self._tell(job)
        self.read += looked_at
        self.read_bytes += looked_bytes - self.looked_bytes
        self.looked_bytes = looked_bytes
        return looked_at, found

    def _matching(self, found: list[tuple[bytes, StoredJob]]) -> list[StoredJob]:
        checks = self.checks
        jobs: list[StoredJob] = []
        for place, job in found:
            try:
                for check in checks:
                    if not check(place, job):
                        break
                else:
                    jobs.append(job)
            except msgspec.MsgspecError:
                self._tell(job.job_id)
        return jobs

    def _tell(self, job_id: bytes) -> None:
        if job_id not in self.corrupt:
            self.corrupt.append(job_id)


def _ids_of(places: list[bytes]) -> list[bytes]:
    if not places or len(places[0]) == JOB_ID_BYTES:
        return places
    return [place[-JOB_ID_BYTES:] for place in places]


# Orders -----------------------------------------------------------------------------------------


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


Check = Callable[[bytes, StoredJob], bool]
"""Looks at a job and the place at which it was found."""


def _checks(query: ListQuery, owners: Set[int] | None) -> list[Check]:
    """Return what holds for a job that is asked for, as its rows are now."""
    checks: list[Check] = []
    if owners is not None:
        checks.append(lambda _, job: job.owner_id in owners)
    start, stop = bounds(query)
    if start or stop is not None:
        checks.append(lambda _, job: start <= job.job_id and (stop is None or job.job_id < stop))
    if query.statuses is not None or query.retrying_only:
        checks.append(lambda _, job: _status_matches(query, job))
    if _looks_inside(query):
        checks.append(lambda _, job: _end_matches(query, job) and _spec_matches(query, job.spec))
    if (key_of := _PLACED.get(query.order)) is not None:
        # Else it is an old place, or that of its submit where another counts.
        checks.append(lambda place, job: place[:MS_BYTES] == layout.ms_key(key_of(job)))
    return checks


def _looks_inside(query: ListQuery) -> bool:
    """Say whether what is asked for needs more than an index and a look at bytes to be told."""
    return (
        query.retrying_only
        or query.finished_after_ms is not None
        or query.finished_before_ms is not None
        or query.name is not None
        or query.name_prefix is not None
        or query.types is not None
        or query.queues is not None
        or bool(query.tags or query.labels)
    )


def _status_matches(query: ListQuery, job: StoredJob) -> bool:
    status = job.status
    if query.statuses is None or status in query.statuses:
        if not query.retrying_only or status is not Status.SCHEDULED:
            return True
        if layout.record_attempt(job.record) > 0:
            return True
    return job.done is None and _contains(query.live_ids, job.job_id)  # the caller vouches for it


def _end_matches(query: ListQuery, job: StoredJob) -> bool:
    from_ms, to_ms = query.finished_after_ms, query.finished_before_ms
    if from_ms is None and to_ms is None:
        return True
    if job.finished is None:
        return False
    at_ms = job.finished.finished_at_ms
    return (from_ms is None or at_ms >= from_ms) and (to_ms is None or at_ms < to_ms)


def _spec_matches(query: ListQuery, spec: bytes) -> bool:
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
