"""Rows unsealed by the many: the inner loops of what reads them."""

from collections.abc import Iterable, Set

from headrace.store._jobs import StoredJob

def unseal(table: int, key: bytes, value: bytes) -> bytes:
    """Return the payload. Raises `RecordCorrupt`."""

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

def unseal_records(
    table: int, packed: bytes, last: bytes, key_bytes: int, record_bytes: int
) -> tuple[bytes, dict[bytes, bytes], list[bytes], bytes, int]:
    """Join the keys and records of a page of rows; what stands behind a record is apart, by key.

    Returns (joined, trails, keys of rows that fail their checksum, last key, number of rows).
    Shape: packed as by `contract.pack_rows`.
    Raises: `StoreDamaged` if a key does not follow the one before; the first is to follow `last`.
    """
