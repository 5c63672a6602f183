"""The candidates of a list: an index that holds all matches, and their places in its order.

    order               index
    created             the sparser of these two, of the first ids that each has:
                          BY_OWNER, a range for each owner named
                          BY_STATUS, a range for each final status named; the engine's ids, or
                          LIVE, for the live ones
                        SPEC, if neither is named
    scheduled           the same, merged with BY_SCHEDULED
    finished            BY_FINISHED, a range for each final status; for updated too, if only
                        finished jobs are asked for
    all others          as for created: all matches, to be put in order afterwards

A candidate is its place in the order: its job's id, which is its time of submit, and before it, of
all other orders, 48 bits of what comes first. So places sort as bytes, ranges merge into one
order, and a cursor is a place.

Places come in runs, because what is done to each by itself costs more than to read it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Set
from itertools import chain
from typing import Final

from headrace.core.effects import ids_split
from headrace.core.ids import first_id_at
from headrace.core.job import TERMINAL, Status
from headrace.store import layout
from headrace.store._rows import keys_behind
from headrace.store.contract import (
    KeyValue,
    ListQuery,
    Order,
    RecordCorrupt,
    Row,
    after,
    prefix_end,
)
from headrace.store.layout import JOB_ID_BYTES, MS_BYTES
from headrace.wire import limits

OWNERS_MERGED_MAX: Final = 64
"""A tenant with more users is filtered, not merged from one range a user."""
RUN_FIRST: Final = 128
"""Index rows read at first, of all ranges together: a page of a list often needs no more."""
RUN_FIRST_MIN: Final = 8
RUN_MAX: Final = 512
"""Rows read at once where more and more of them are wanted."""
ENDS_FIRST: Final = 4
"""As `RUN_FIRST`, of rows that have many ids."""
SAMPLE: Final = 64
"""First ids of two indexes by which the sparser is told."""

Run = list[bytes]
"""Places, ascending. Runs follow each other in the order of the list, newest or oldest first."""


class Candidates:
    """The places of jobs that may match, and what they leave open."""

    def __init__(self, kv: KeyValue, query: ListQuery, owners: Set[int] | None) -> None:
        self._kv = kv
        self._query = query
        self._newest = query.newest_first
        self._named = owners
        self._ids = _behind(query, *bounds(query))
        """The range of ids that are still to come: start inclusive, stop exclusive."""
        self.owners, self.statuses = owners, query.statuses
        """Candidates may be of others than these; None: they are not."""
        self.corrupt: list[bytes] = []
        """Ids of index rows that fail their checksum, as far as they have been met."""
        self._runs: Iterator[Run] | None = self._chosen()

    def runs(self) -> Iterator[list[bytes]]:
        """Yield all places, each once, in the order of the list; to be called once.

        They refer to us: kept here as well, they and all the rows that they hold at the end of a
        list would be left to the garbage collector, tens of thousands of rows at once.
        """
        runs, self._runs = self._runs, None
        assert runs is not None
        for run in runs:
            if self._newest:
                run.reverse()
            yield run

    def _chosen(self) -> Iterator[Run]:
        query = self._query
        if query.order is Order.FINISHED:
            assert query.statuses is not None
            self.statuses = None
            return self._merged([self._finished(status) for status in sorted(query.statuses)])
        ids = self._created()
        if query.order is not Order.SCHEDULED:
            return ids
        self.statuses = query.statuses  # one that was asked for at a time may be in any
        at_once = ([id_[:MS_BYTES] + id_ for id_ in run] for run in ids)
        return self._merged([at_once, *self._planned()])

    # Ranges -------------------------------------------------------------------------------------

    def _created(self) -> Iterator[Run]:
        """Yield ids from the index that seems to be the sparser."""
        statuses = self._query.statuses
        owners = self._merging()
        if owners is not None:
            keys = [layout.number_key(owner_id) for owner_id in owners]
            of_owners = self._merged([self._range(layout.BY_OWNER, key, len(keys)) for key in keys])
        if statuses is not None:
            of_statuses = self._merged(self._by_status(statuses))
        known = self._query.live_ids
        if statuses is not None and known is not None and not statuses & TERMINAL:
            owners = owners if len(known) > limits.LIST_SORTED_MAX else None
        by_owner = owners is not None
        if by_owner and statuses is not None:
            of_owners, few = self._sampled(of_owners)
            of_statuses, others = self._sampled(of_statuses)
            by_owner = len(few) < SAMPLE or (
                len(others) == SAMPLE
                and few[-1] != others[-1]  # or all of the last ones are the owner's
                and (few[-1] < others[-1]) is self._newest
            )
        if by_owner:
            self.owners = None
            return of_owners
        if statuses is not None:
            if statuses <= TERMINAL or known is not None:
                self.statuses = None
            return of_statuses
        return self._range(layout.SPEC, b"", 1)

    def _merging(self) -> list[int] | None:
        """Return the owners whose ranges are merged; None: there are too many, or none is named."""
        named = self._named
        return None if named is None or len(named) > OWNERS_MERGED_MAX else sorted(named)

    def _by_status(self, statuses: frozenset[Status]) -> list[Iterator[Run]]:
        ended = sorted(statuses & TERMINAL)
        keys = [status.to_bytes(1, "big") for status in ended]
        parts = [self._range(layout.BY_STATUS, key, len(keys)) for key in keys]
        if statuses <= TERMINAL:
            return parts
        if self._query.live_ids is not None:
            parts.append(self._known())
        else:
            parts.append(self._range(layout.LIVE, b"", 1))  # of whatever status
        return parts

    def _known(self) -> Iterator[Run]:
        """Yield the live ids that the engine told."""
        known = self._query.live_ids
        assert known is not None
        start, stop = self._ids
        first, end = bisect_left(known, start), len(known)
        if stop is not None:
            end = bisect_left(known, stop)
        for at in range(0, end - first, RUN_MAX):
            if self._newest:
                yield list(known[max(first, end - at - RUN_MAX) : end - at])
            else:
                yield list(known[first + at : min(end, first + at + RUN_MAX)])

    def _range(self, table: int, prefix: bytes, parts: int) -> Iterator[Run]:
        """Yield the ids behind a prefix of an index, one of so many ranges.

        A corrupt index row is told, and its id is tried: of the key and the seal only one is wrong.
        """
        start, stop = self._ids
        if stop is not None and stop <= start:
            return
        end = prefix + stop if stop is not None else (prefix_end(prefix) if prefix else None)
        are_checked = table not in layout.JOB_TABLES  # whose rows are looked at anyway
        first = max(RUN_FIRST_MIN, RUN_FIRST // max(1, parts))
        for rows in self._pages(table, prefix + start, end, first):
            ids, corrupt = keys_behind(table, rows, len(prefix), are_checked)
            self.corrupt += corrupt
            yield ids

    def _planned(self) -> list[Iterator[Run]]:
        """Return the places of jobs that were asked for at a time, in ranges."""
        owners = self._merging()
        if owners is None:
            return [self._planned_of(layout.ANY_OWNER, 1)]
        return [self._planned_of(layout.number_key(owner), len(owners)) for owner in owners]

    def _planned_of(self, owner: bytes, parts: int) -> Iterator[Run]:
        table, cursor = layout.BY_SCHEDULED, self._query.after
        start, stop = owner, prefix_end(owner)
        if cursor is not None and self._newest:
            stop = owner + cursor
        elif cursor is not None:
            start = owner + after(cursor)
        for rows in self._pages(table, start, stop, max(RUN_FIRST_MIN, RUN_FIRST // parts)):
            places, corrupt = keys_behind(table, rows, len(owner), True)
            self.corrupt += [place[-JOB_ID_BYTES:] for place in corrupt]
            yield places

    def _finished(self, status: Status) -> Iterator[Run]:
        """Yield the places of jobs that ended so; those that ended at once, by their ids."""
        query = self._query
        newest, cursor = self._newest, query.after
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
        held: Run = []
        """Those that ended last: others that ended with them may be in rows to come."""
        for rows in self._pages(layout.BY_FINISHED, start, stop, ENDS_FIRST):
            held += self._ends(rows)
            held.sort()
            last_ms = rows[0 if newest else -1][0][1 : 1 + MS_BYTES]
            if newest:
                at = bisect_left(held, _after_ms(last_ms))
                run, held = held[at:], held[:at]
            else:
                at = bisect_left(held, last_ms)
                run, held = held[:at], held[at:]
            if run := self._beyond(run):
                yield run
        if run := self._beyond(held):
            yield run

    def _ends(self, rows: list[Row]) -> list[bytes]:
        places: list[bytes] = []
        for key, value in rows:
            at = key[1 : 1 + MS_BYTES]
            try:
                ids = ids_split(layout.unseal(layout.BY_FINISHED, key, value))
            except RecordCorrupt:
                self.corrupt.append(key[1 + MS_BYTES :][:JOB_ID_BYTES])
            else:
                places += [at + job_id for job_id in ids]
        return places

    def _beyond(self, run: Run) -> Run:
        """Leave out what is not behind the cursor."""
        cursor = self._query.after
        if cursor is None:
            return run
        return run[: bisect_left(run, cursor)] if self._newest else run[bisect_right(run, cursor) :]

    # Runs ---------------------------------------------------------------------------------------

    def _pages(
        self, table: int, start: bytes, stop: bytes | None, first: int
    ) -> Iterator[list[Row]]:
        """Yield the rows of a range, ascending, a few at first and then more at once."""
        newest, wanted = self._newest, first
        while rows := self._kv.scan(table, start, stop, reverse=newest, limit=wanted):
            if newest:
                stop = rows[-1][0]
                rows.reverse()
            else:
                start = after(rows[-1][0])
            yield rows
            wanted = min(2 * wanted, RUN_MAX)

    def _merged(self, parts: list[Iterator[Run]]) -> Iterator[Run]:
        """Merge ranges; a job that ends while the list is made may be in two, and is kept once."""
        return parts[0] if len(parts) == 1 else _merged(parts, self._newest)

    def _sampled(self, runs: Iterator[Run]) -> tuple[Iterator[Run], list[bytes]]:
        """Return the same again, and the first of them."""
        pulled: list[Run] = []
        few: list[bytes] = []
        for run in runs:
            pulled.append(run)
            few += reversed(run) if self._newest else run
            if len(few) >= SAMPLE:
                break
        return chain(pulled, runs), few[:SAMPLE]


def _merged(parts: list[Iterator[Run]], newest: bool) -> Iterator[Run]:
    """Yield what lies before the nearest end of all current runs, and go on with those used up."""
    left = [(run, part) for part in parts if (run := next(part, []))]
    while left:
        taken: Run = []
        edge = max(run[0] for run, _ in left) if newest else min(run[-1] for run, _ in left)
        for run, _ in left:
            if newest:
                at = bisect_left(run, edge)
                taken += run[at:]
                del run[at:]
            else:
                at = bisect_right(run, edge)
                taken += run[:at]
                del run[:at]
        left = [(more, part) for run, part in left if (more := run or next(part, []))]
        taken.sort()
        yield list(dict.fromkeys(taken))


# Bounds -----------------------------------------------------------------------------------------


def bounds(query: ListQuery) -> tuple[bytes, bytes | None]:
    """Return the range of ids asked for: start inclusive, stop exclusive, None for no end."""
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


def _after_ms(at: bytes) -> bytes:
    """Return what stands before all places that are later."""
    return at + b"\xff" * (JOB_ID_BYTES + 1)
