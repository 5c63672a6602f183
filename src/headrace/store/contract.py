"""What a store is: rows below, jobs above, and the ways it can fail.

Store  (store.py)   effects in, jobs out; the same over either kind of rows
  │    layout.py    which rows an effect is: tables, keys, checksums
KeyValue            ordered rows in numbered tables
  ├─ lmdb.py        on disk, durable when `write` returns
  └─ memory.py      gone with the process

StoreError
├─ StoreBusy         another server has the directory open
├─ StoreUnsuitable   the filesystem cannot keep the promise of durability
├─ StoreExposed      others may write in the directory
├─ StoreTooNew       written by a later version; nothing was changed
├─ StoreDamaged      the structure is broken: refuse to start, restore a backup
├─ StoreFull         no space: this write was not applied, the same one may be tried again
├─ StoreBroken       the disk failed: what is on it is unknown, so the process must stop
└─ RecordCorrupt     one row fails its checksum; all others are fine
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum, unique
from typing import NamedTuple, Protocol

import msgspec

from headrace.core.deliveries import Delivery
from headrace.core.effects import Finished, Trail, Waits
from headrace.core.expiring import Expired
from headrace.core.job import Status
from headrace.core.live import ArchiveFault
from headrace.core.resources import Requirements
from headrace.core.sweeping import Ended
from headrace.store._jobs import StoredJob as StoredJob
from headrace.store._new_rows import NewRows
from headrace.wire import limits
from headrace.wire.documents import Document

# Errors -----------------------------------------------------------------------------------------


class StoreError(Exception):
    """Root of every operating error of a store."""


class StoreBusy(StoreError):  # noqa: N818 - named for the state met
    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is in use by another server")
        self.path = path


class StoreUnsuitable(StoreError):  # noqa: N818 - named for the state met
    def __init__(self, path: str, filesystem: str) -> None:
        super().__init__(
            f"{path} is on {filesystem}, where an acknowledged job could be lost;"
            " use a directory on a local disk (ext4 or XFS)"
        )
        self.path = path
        self.filesystem = filesystem


class StoreExposed(StoreError):  # noqa: N818 - named for the state met
    def __init__(self, path: str) -> None:
        super().__init__(
            f"others may write in {path}, and so replace what is stored there;"
            f" chmod go-w {path}, or use a directory below it"
        )
        self.path = path


class StoreTooNew(StoreError):  # noqa: N818 - named for the state met
    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the store has format {found} and this version knows formats up to {known};"
            " nothing was changed"
        )
        self.found = found
        self.known = known


class StoreDamaged(StoreError):  # noqa: N818 - named for the state met
    def __init__(self, detail: str) -> None:
        super().__init__(f"the store is damaged: {detail}")
        self.detail = detail


class StoreFull(StoreError):  # noqa: N818 - named for the state met
    def __init__(self, detail: str) -> None:
        super().__init__(f"no space left for the store: {detail}")
        self.detail = detail


class StoreBroken(StoreError):  # noqa: N818 - named for the state met
    def __init__(self, detail: str) -> None:
        super().__init__(f"the store cannot be read or written: {detail}")
        self.detail = detail


class RecordCorrupt(StoreError, ArchiveFault):  # noqa: N818 - named for the state met
    def __init__(self, table: int, key: bytes) -> None:
        super().__init__(f"row {key.hex()} of table {table} fails its checksum")
        self.table = table
        self.key = key


# Rows -------------------------------------------------------------------------------------------

Row = tuple[bytes, bytes]
"""Key and value."""

SCAN_ROWS_MAX = 1_024
SCAN_BYTES_MAX = 4 * limits.MIB
"""Values one scan copies before it stops early; one more row may go beyond it."""


class KeyValue(Protocol):
    """Ordered rows in numbered tables. Keys have 1 to 511 bytes.

    Reads see committed rows only and may come from any thread; they copy, and hold nothing open.
    """

    def get(self, table: int, key: bytes) -> bytes | None: ...

    def get_columns(self, tables: Sequence[int], keys: Sequence[bytes]) -> list[list[bytes | None]]:
        """Read the rows of these keys in each table, all of one and the same moment.

        Shape: a list for each table, in the order of the keys. Quickest where those rise or fall.
        """

    def get_lasts(self, table: int, ranges: Sequence[tuple[bytes, bytes]]) -> list[Row | None]:
        """Read the last row of each range, start <= key < stop, all of one and the same moment."""

    def scan(
        self,
        table: int,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int = SCAN_ROWS_MAX,
        bytes_max: int = SCAN_BYTES_MAX,
    ) -> list[Row]:
        """Read rows with start <= key < stop in order; None is the end of the table.

        With `reverse` the same rows from the last to the first. A scan stops after `limit` rows
        or `bytes_max` bytes; only an empty answer says that there is no more (see `walk`).
        """

    def walk_packed(self, table: int, rows: int) -> Iterator[bytes]:
        """Yield a whole table in order, about `rows` at a time, as `pack_rows` packs them.

        For a start: the disk is told to fetch ahead. Nobody writes meanwhile.
        """

    def count(self, table: int) -> int: ...

    def write(self, rows: NewRows) -> None:
        """Apply all changes or none; durable on return. One thread at a time.

        Raises: `StoreFull` with nothing applied, `StoreBroken`.
        """

    def bytes_used(self) -> int: ...

    def bytes_free(self) -> int:
        """Space left for growth, before the store is full."""

    def close(self) -> None: ...


def pack_rows(rows: Sequence[Row]) -> bytes:
    """Put rows into one text: u32 length of key, u32 length of value, key, value, of each.

    The numbers are in this machine's order of bytes; it never leaves the process.
    """
    return b"".join([_lengths(len(key), len(value)) + key + value for key, value in rows])


_lengths = struct.Struct("=II").pack


def after(key: bytes) -> bytes:
    """Return the first key behind `key`."""
    return key + b"\0"


def prefix_end(prefix: bytes) -> bytes | None:
    """Return the first key behind all keys that begin with `prefix`; None if there is none."""
    number = int.from_bytes(prefix, "big") + 1
    return None if number >> (8 * len(prefix)) else number.to_bytes(len(prefix), "big")


def walk(
    kv: KeyValue,
    table: int,
    start: bytes = b"",
    stop: bytes | None = None,
    *,
    reverse: bool = False,
    page: int = SCAN_ROWS_MAX,
) -> Iterator[Row]:
    """Yield rows of a range page by page, so that no read stays open in between."""
    while rows := kv.scan(table, start, stop, reverse=reverse, limit=page):
        yield from rows
        if reverse:
            stop = rows[-1][0]
        else:
            start = after(rows[-1][0])


# What the engine asks ---------------------------------------------------------------------------


class Archive(Protocol):
    """The engine's view of what it does not keep in memory.

    Sees effects as soon as they are staged, so that the engine never acts on less than it said.
    Raises `RecordCorrupt` for a row that fails its checksum.
    """

    def finished(self, job_id: bytes) -> Finished | None: ...

    def key(self, digest: bytes) -> tuple[bytes, bytes] | None:
        """Return the job and the request digest under an idempotency key."""

    def has_module(self, key: bytes) -> bool: ...

    def owner_of(self, job_id: bytes) -> int | None:
        """Return the owner of a job, live or finished; None for no such job."""

    def spec_of(self, job_id: bytes) -> bytes | None:
        """Return the spec of a job, live or finished; None for no such job."""

    def trail(self, job_id: bytes) -> Trail | None:
        """Return the trail of a live job; None for one that says nothing."""

    def noted(self, job_id: bytes) -> int:
        """Return how many reports of progress were ever stored of a job."""

    def ended(
        self, start: bytes, stop: bytes, limit: int, *, types: bool
    ) -> tuple[list[Ended], bytes | None]:
        """Return finished jobs as committed, oldest id first, and where to go on: None at the end.

        Those of which something is staged are left out. `types`: tell their types, too.
        """

    def ends_staged(self, start: bytes, stop: bytes) -> bool:
        """Say whether `ended` does not tell yet of a job with start <= id < stop."""

    def expired(
        self, after_key: bytes, until_ms: int, limit: int
    ) -> tuple[list[Expired], bytes | None]:
        """Return the rows behind a key of jobs whose own time is over by then, and where to go on:
        None at the end. As committed; those of which something is staged are left out."""

    def delivery_waits(self, endpoint: bytes, due_ms: int, number: int) -> bool:
        """Say whether a delivery waits with this due time."""

    def delivery_over(self, endpoint: bytes, slot: int) -> Delivery | None:
        """Return a delivery that is over, by its place."""

    def deliveries_over(self, endpoint: bytes) -> int:
        """Return how many deliveries of a webhook were over ever."""


# What handlers ask ------------------------------------------------------------------------------


class Position(NamedTuple):
    """Place of a commit in the history of a shard. Rises with each commit."""

    shard: int
    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.shard}:{self.epoch}:{self.seq}"


class StoredProgress(NamedTuple):
    """One report of a job's progress."""

    number: int
    at_ms: int
    """Wall clock."""
    attempt: int
    progress: float
    details: str


@unique
class Order(IntEnum):
    """What lists are ordered by; a job's id, which is its time of submit, comes second."""

    CREATED = 1
    SCHEDULED = 2
    """When it was asked to run: at once, if no time was named."""
    FINISHED = 3
    """Finished jobs only."""
    STARTED = 4
    """Of its last attempt; what never started stands as at the beginning of time."""
    UPDATED = 5
    PRIORITY = 6


class OrderTooWide(Exception):  # noqa: N818 - named for the state met
    """No index has this order, and too many jobs would have to be looked at to put them in it."""

    def __init__(self, order: Order, examined: int) -> None:
        super().__init__(f"order {order.name.lower()}: over {examined} jobs to look at")
        self.order = order
        self.examined = examined


class ListQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which jobs, in which order. All conditions hold together."""

    owner_id: int | None = None
    tenant: str | None = None
    statuses: frozenset[Status] | None = None
    retrying_only: bool = False
    """A SCHEDULED job counts only if it has an attempt behind it."""
    types: frozenset[str] | None = None
    """The empty type is WASM."""
    queues: frozenset[str] | None = None
    name: str | None = None
    name_prefix: str | None = None
    tags: frozenset[str] = frozenset()
    """All of them."""
    labels: frozenset[tuple[str, str | None]] = frozenset()
    """Required of the worker, all of them; None: whatever value."""
    submitted_after_ms: int | None = None
    """Wall clock, inclusive; so is that of the end."""
    submitted_before_ms: int | None = None
    """Wall clock, exclusive; so is that of the end."""
    finished_after_ms: int | None = None
    finished_before_ms: int | None = None
    before_id: bytes | None = None
    """Ids below this one only."""
    order: Order = Order.CREATED
    newest_first: bool = True
    """Or what is most, of an order that is no time."""
    skip: int = 0
    """How many that match come before the page."""
    limit: int = limits.LIST_LIMIT_DEFAULT
    after: bytes | None = None
    """The cursor: `Page.next` of the page before."""
    live_ids: Sequence[bytes] | None = None
    """Ascending ids of all live jobs whose status, as the engine knows it, is among `statuses`.

    Saves a walk over the live jobs; the caller's word on their status is taken.
    """


class Page(msgspec.Struct, frozen=True):
    jobs: list[StoredJob]
    next: bytes | None
    """Cursor of the next page: the place of the last job looked at, in the order asked for. None
    at the end. A page may be short, even empty, and have one."""
    examined: int
    skipped: int = 0
    """Fewer than asked for: there are no more, or the cursor leads to them."""
    corrupt: list[bytes] = []
    """Jobs met of which a row fails its checksum."""


class LivePage(msgspec.Struct, frozen=True):
    """Some of the live jobs, oldest id first."""

    rows: bytes
    """Ids and records, one after the other."""
    trails: dict[bytes, bytes]
    """By id, as stored; most jobs that wait have none."""

    def trail(self, job_id: bytes) -> Trail:
        stored = self.trails.get(job_id)
        return Trail() if stored is None else _trail_decode(stored)


_trail_decode = msgspec.msgpack.Decoder(Trail).decode


class Restored(msgspec.Struct, frozen=True):
    """What a server starts from."""

    epoch: int
    """One more than ever before, and already durable."""
    secret: bytes
    """32 bytes, made when the store was made."""
    position: Position
    at_ms: int
    """The engine's clock at the last commit; 0 for a new store."""
    classes: dict[int, Requirements]
    owners: dict[int, tuple[str, str]]
    documents: list[Document]
    deliveries_waiting: list[tuple[bytes, str, int]]
    """Endpoint, tenant, and how many deliveries of that tenant wait for it."""
    delivery_last: int
    """The highest number of an event that waits."""
    audit_last: int
    """Number of the last entry of the audit log; 0: there is none."""
    owners_next: int
    """The least number that no owner has, those of corrupt rows counted."""
    jobs_live: int
    """About how many jobs `live` has."""
    live: Callable[[], Iterator[LivePage]]
    """Every live job, oldest id first. Read it to its end before the first `write`."""
    waits: dict[bytes, Waits]
    """By job: what it waits for."""
    corrupt: list[tuple[int, bytes]]
    """(table, key) of rows that fail their checksum; grows while `live` is read."""


class Stats(msgspec.Struct, frozen=True):
    bytes_used: int
    bytes_free: int
    commits: int
    commit_ms: float
    """Duration of the last commit."""
    pending: int
    """Batches staged and not settled."""
    corrupt_records: int
    jobs_live: int
    """Committed."""
    jobs_finished: int
