"""Rows of one commit, as they are handed to the writer: by table and key, what came last."""

from collections.abc import Mapping
from typing import TypeVar, final

_Default = TypeVar("_Default")

@final
class NewRows:
    """A value is sealed; None in its place: the row is deleted.

    Staged by one thread, then only read, by any.
    """

    def __init__(self, rows: Mapping[int, Mapping[bytes, bytes | None]] | None = None) -> None: ...
    def put(self, table: int, key: bytes, payload: bytes) -> None:
        """Seal a payload; it is the value of its row from now on."""

    def set(self, table: int, key: bytes, value: bytes | None) -> None:
        """Take a value as it is, or None to delete the row."""

    def get(
        self, table: int, key: bytes, default: _Default | None = None
    ) -> bytes | _Default | None:
        """Return a value, None for a row that is deleted, the default for one that is not here."""

    def holds(self, table: int, key: bytes) -> bool:
        """Whether a row is put or deleted."""

    def tables(self) -> list[int]:
        """Return the tables in the order in which they were touched."""

    def items(self, table: int, prefix: bytes = b"") -> list[tuple[bytes, bytes | None]]:
        """Return keys that begin so, and values, in the order of staging."""

    def keys(self, table: int, prefix: bytes = b"") -> list[bytes]: ...
    def __len__(self) -> int:
        """Return how many rows are put or deleted."""

    def link(self) -> bytes:
        """Return what a batch adds to the chain of commits, by table, in the order of staging.

        A row stands there as its checksum, which covers table, key and payload; a deleted one has
        no checksum, so its key does.
        """

def put_jobs(
    rows: NewRows,
    tables: tuple[int, int, int],
    owner_id: int,
    job_ids: bytes,
    records: bytes,
    specs: list[bytes],
    keys: list[tuple[int, bytes, bytes]],
) -> None:
    """Put the rows of new jobs into the tables SPEC, LIVE and BY_OWNER.

    Shape: ids and records are joined; keys are as in `JobsStored`. The payload of SPEC is what
    `layout.envelope_unpack` reads, that of LIVE a record, that of BY_OWNER empty.
    """

def put_leased(
    rows: NewRows,
    live_table: int,
    job_ids: bytes,
    records: bytes,
    trail: bytes,
) -> None:
    """Put the rows of jobs that one poll got into the table LIVE.

    Shape: ids and records are joined; the payload is a record and the trail.
    """

def put_completed(
    rows: NewRows,
    tables: tuple[int, int, int, int],
    status: int,
    finished_at_ms: int,
    job_ids: bytes,
    records: bytes,
    started_at_ms: list[int],
    worker: str,
    bodies: list[bytes],
    body_bytes_max: int,
) -> None:
    """Put the rows of jobs that ended well into LIVE (deleted), DONE, BODIES and BY_STATUS.

    Shape: ids and records are joined. The payload of DONE is what `layout.finished_pack` makes,
    that of BODIES a body longer than the most, that of BY_STATUS empty.
    """
