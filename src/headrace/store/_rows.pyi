"""Rows sealed and unsealed by the many: the inner loops of `layout`."""

from collections.abc import Iterable, Mapping, MutableMapping, Set

from headrace.store._jobs import StoredJob

def put_jobs(
    rows: MutableMapping[int, dict[bytes, bytes | None]],
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

def unseal_specs(table: int, keys: list[bytes], values: list[bytes | None]) -> list[bytes | None]:
    """Return the spec in each sealed envelope, None for None. Raises `RecordCorrupt`."""

def unseal_jobs(
    tables: tuple[int, int, int],
    job_ids: list[bytes],
    specs: list[bytes | None],
    lives: list[bytes | None],
    dones: list[bytes | None],
) -> list[StoredJob | bytes | None]:
    """Put jobs together from their rows in the tables SPEC, LIVE and DONE.

    Returns a job for each id, None for one that has no row in SPEC; and in place of a job whose
    rows are corrupt, or in neither of the others, its id.
    """

def keys_behind(
    table: int, rows: list[tuple[bytes, bytes]], skip: int, are_checked: bool
) -> tuple[list[bytes], list[bytes]]:
    """Return what stands behind so many bytes in each row's key; and of rows that are corrupt.

    `are_checked`: whether checksums are looked at.
    """

def may_be(
    table: int, keys: list[bytes], values: list[bytes | None], numbers: Iterable[int]
) -> list[int]:
    """Return the positions of sealed records that may be in one of these statuses, rising.

    A row that fails its checksum is kept, one that is None is not.
    """

def may_match(
    table: int,
    keys: list[bytes],
    values: list[bytes | None],
    owners: Set[int] | None,
    groups: list[list[bytes]],
) -> list[int]:
    """Return the positions of sealed envelopes that may be of jobs asked for, rising.

    Others are of no owner among `owners` (None: of any), or their spec holds, of one of the
    groups of texts, none. A row that fails its checksum is kept, one that is None is not.
    """

def put_leased(
    rows: MutableMapping[int, dict[bytes, bytes | None]],
    live_table: int,
    job_ids: bytes,
    records: bytes,
    trail: bytes,
) -> None:
    """Put the rows of jobs that one poll got into the table LIVE.

    Shape: ids and records are joined; the payload is a record and the trail.
    """

def put_completed(
    rows: MutableMapping[int, dict[bytes, bytes | None]],
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

def link(rows: Mapping[int, dict[bytes, bytes | None]]) -> bytes:
    """Return what a batch adds to the chain of commits, by table, in the order of staging.

    A row stands there as its checksum, which covers table, key and payload; a deleted one has no
    checksum, so its key does.
    """

def unseal_records(
    table: int, packed: bytes, last: bytes, key_bytes: int, record_bytes: int
) -> tuple[bytes, dict[bytes, bytes], list[bytes], bytes, int]:
    """Join the keys and records of a page of rows; what stands behind a record is apart, by key.

    Returns (joined, trails, keys of rows that fail their checksum, last key, number of rows).
    Shape: packed as by `contract.pack_rows`.
    Raises: `StoreDamaged` if a key does not follow the one before; the first is to follow `last`.
    """
