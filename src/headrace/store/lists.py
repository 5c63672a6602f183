"""Lists of jobs: the narrowest index that holds all matches, then a filter.

    owners named          BY_OWNER, one range each
    statuses named        BY_STATUS, one range each; the engine's ids, or LIVE, for the live ones
    neither               SPEC

Ids sort by time of submit, so the ranges merge into one order, a cursor is an id, and bounds on
the time of submit are bounds on the id.
"""

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from headrace.core.ids import first_id_at
from headrace.core.job import TERMINAL, Status
from headrace.store import layout
from headrace.store.contract import (
    KeyValue,
    ListQuery,
    Page,
    RecordCorrupt,
    StoredJob,
    after,
    prefix_end,
    walk,
)
from headrace.store.layout import Envelope
from headrace.wire import limits

CHUNK_JOBS: Final = 32
"""Jobs read in one read transaction; the rows of all of them are in memory at once."""
LIST_BYTES_MAX: Final = 16 * limits.MIB
"""Specs that one page reads before it ends early."""
OWNERS_MERGED_MAX: Final = 64
"""A tenant with more users is filtered, not merged from one range a user."""
INDEX_PAGE: Final = 128
"""Index rows read at once: a page of a list often needs no more."""


class _Filtered(msgspec.Struct):
    """The fields of a spec that a list can ask for."""

    name: str = ""
    type: str = ""
    queue: str = "default"
    tags: list[str] = []


_filtered_decode = msgspec.json.Decoder(_Filtered).decode


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


def list_jobs(kv: KeyValue, owners: dict[int, tuple[str, str]], query: ListQuery) -> Page:
    """Return the jobs that match, from the cursor on.

    Cost: at most `LIST_EXAMINED_MAX` candidates and about `LIST_BYTES_MAX` of their specs.
    """
    limit = min(query.limit, limits.LIST_LIMIT_MAX)
    wanted_owners = _owners_of(owners, query)
    corrupt: list[bytes] = []
    candidates = _candidates(kv, query, wanted_owners, corrupt)
    jobs: list[StoredJob] = []
    examined = 0
    size = 0
    last: bytes | None = None
    while chunk := list(islice(candidates, min(CHUNK_JOBS, limits.LIST_EXAMINED_MAX - examined))):
        # By table: jobs that follow each other lie close together there.
        values = kv.get_many([(table, job_id) for table in _JOB_TABLES for job_id in chunk])
        columns = (values[at : at + len(chunk)] for at in range(0, len(values), len(chunk)))
        for job_id, spec, live, done in zip(chunk, *columns, strict=True):
            if len(jobs) == limit or size >= LIST_BYTES_MAX:
                return Page(jobs, last, examined, corrupt)
            examined += 1
            last = job_id
            if spec is None:
                continue  # deleted since its index row was read
            size += len(spec)
            try:
                job = _match(query, wanted_owners, job_id, spec, live, done)
            except (RecordCorrupt, msgspec.MsgspecError):
                if job_id not in corrupt:
                    corrupt.append(job_id)
                continue
            if job is not None:
                jobs.append(job)
    more = examined >= limits.LIST_EXAMINED_MAX
    return Page(jobs, last if more else None, examined, corrupt)


_JOB_TABLES: Final = (layout.SPEC, layout.LIVE, layout.DONE)


def _owners_of(owners: dict[int, tuple[str, str]], query: ListQuery) -> frozenset[int] | None:
    """Return the owners asked for; None for any."""
    if query.owner_id is not None:
        if query.tenant is not None and owners.get(query.owner_id, ("",))[0] != query.tenant:
            return frozenset()
        return frozenset({query.owner_id})
    if query.tenant is not None:
        return frozenset(number for number, who in owners.items() if who[0] == query.tenant)
    return None


# Candidates -------------------------------------------------------------------------------------


def _candidates(
    kv: KeyValue,
    query: ListQuery,
    wanted_owners: frozenset[int] | None,
    corrupt: list[bytes],
) -> Iterator[bytes]:
    """Yield ids in order, from the narrowest index, each once."""
    start, stop = _bounds(query)
    if stop is not None and stop <= start:
        return iter(())
    newest = query.newest_first
    statuses = query.statuses
    if wanted_owners is not None and len(wanted_owners) <= OWNERS_MERGED_MAX:
        only_live_ids = (
            statuses is not None
            and query.live_ids is not None
            and not statuses & TERMINAL
            and len(query.live_ids) <= limits.LIST_EXAMINED_MAX
        )
        if not only_live_ids:
            prefixes = [layout.number_key(owner_id) for owner_id in sorted(wanted_owners)]
            return _merged(
                [
                    _ids(kv, layout.BY_OWNER, prefix, start, stop, newest, corrupt)
                    for prefix in prefixes
                ],
                newest,
            )
    if statuses is None:
        return _ids(kv, layout.SPEC, b"", start, stop, newest, corrupt)
    parts: list[Iterator[bytes]] = [
        _ids(kv, layout.BY_STATUS, status.to_bytes(1, "big"), start, stop, newest, corrupt)
        for status in sorted(statuses & TERMINAL)
    ]
    if query.live_ids is not None:
        known = reversed(query.live_ids) if newest else query.live_ids
        parts.append(id_ for id_ in known if start <= id_ and (stop is None or id_ < stop))
    elif statuses - TERMINAL:
        parts.append(_ids(kv, layout.LIVE, b"", start, stop, newest, corrupt))
    return _merged(parts, newest)


def _bounds(query: ListQuery) -> tuple[bytes, bytes | None]:
    """Return the range of ids: start inclusive, stop exclusive, None for no end."""
    start = b"" if (at := query.submitted_after_ms) is None else first_id_at(at)
    stop = None if (at := query.submitted_before_ms) is None else first_id_at(at)
    if (cursor := query.after_id) is not None:
        if query.newest_first:
            stop = cursor if stop is None else min(stop, cursor)
        else:
            start = max(start, after(cursor))
    return start, stop


def _ids(
    kv: KeyValue,
    table: int,
    prefix: bytes,
    start: bytes,
    stop: bytes | None,
    newest: bool,
    corrupt: list[bytes],
) -> Iterator[bytes]:
    """Yield the ids behind a prefix of an index.

    A corrupt index row is told, and its id is tried: of the key and the seal only one is wrong.
    """
    end = prefix + stop if stop is not None else (prefix_end(prefix) if prefix else None)
    skip = len(prefix)
    for key, value in walk(kv, table, prefix + start, end, reverse=newest, page=INDEX_PAGE):
        job_id = key[skip:]
        if table != layout.SPEC:  # whose rows are looked at anyway
            try:
                layout.unseal(table, key, value)
            except RecordCorrupt:
                corrupt.append(job_id)
        yield job_id


def _merged(parts: list[Iterator[bytes]], newest: bool) -> Iterator[bytes]:
    """Merge ordered ids; one that ends while the list is made may come twice, and is kept once."""
    merged: Iterable[bytes] = parts[0] if len(parts) == 1 else heapq.merge(*parts, reverse=newest)
    last = b""
    for job_id in merged:
        if job_id != last:
            last = job_id
            yield job_id


# The filter -------------------------------------------------------------------------------------


def _match(
    query: ListQuery,
    wanted_owners: frozenset[int] | None,
    job_id: bytes,
    spec: bytes,
    live: bytes | None,
    done: bytes | None,
) -> StoredJob | None:
    """Return the job if it matches. Raises `RecordCorrupt` for any of its rows."""
    if live is None and done is None:
        raise RecordCorrupt(layout.LIVE, job_id)
    envelope = layout.envelope_unpack(layout.unseal(layout.SPEC, job_id, spec))
    if live is not None:
        live = layout.unseal(layout.LIVE, job_id, live)
    if done is not None:
        done = layout.unseal(layout.DONE, job_id, done)
    job = job_of(job_id, envelope, live, done)
    if wanted_owners is not None and job.owner_id not in wanted_owners:
        return None
    vouched = job.finished is None and _contains(query.live_ids, job_id)
    if not vouched and not _status_matches(query, job):
        return None
    return job if _spec_matches(query, envelope.spec) else None


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


def _spec_matches(query: ListQuery, spec: bytes) -> bool:
    if query.types is None and query.queues is None and query.name is None and not query.tags:
        return True
    fields = _filtered_decode(spec)
    return (
        (query.types is None or fields.type in query.types)
        and (query.queues is None or fields.queue in query.queues)
        and (query.name is None or fields.name == query.name)
        and query.tags.issubset(fields.tags)
    )
