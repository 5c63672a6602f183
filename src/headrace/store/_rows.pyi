"""Seals of rows: the inner loops of `layout`."""

from collections.abc import Mapping, MutableMapping

def seal(table: int, key: bytes, payload: bytes) -> bytes: ...
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

def link(rows: Mapping[int, dict[bytes, bytes | None]]) -> bytes:
    """Return what a batch adds to the chain of commits, by table, in the order of staging.

    A row stands there as its checksum, which covers table, key and payload; a deleted one has no
    checksum, so its key does.
    """

def unseal(table: int, key: bytes, value: bytes) -> bytes:
    """Return the payload. Raises `RecordCorrupt`."""

def unseal_records(
    table: int, packed: bytes, last: bytes, key_bytes: int, record_bytes: int
) -> tuple[bytes, dict[bytes, bytes], list[bytes], bytes, int]:
    """Join the keys and records of a page of rows; what stands behind a record is apart, by key.

    Returns (joined, trails, keys of rows that fail their checksum, last key, number of rows).
    Shape: packed as by `contract.pack_rows`.
    Raises: `StoreDamaged` if a key does not follow the one before; the first is to follow `last`.
    """
