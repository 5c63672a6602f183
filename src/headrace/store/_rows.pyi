"""Seals of rows: the inner loops of `layout`."""

def seal(table: int, key: bytes, payload: bytes) -> bytes: ...
def unseal(table: int, key: bytes, value: bytes) -> bytes:
    """Return the payload. Raises `RecordCorrupt`."""

def unseal_records(
    table: int, rows: list[tuple[bytes, bytes]], last: bytes, key_bytes: int, record_bytes: int
) -> tuple[bytes, dict[bytes, bytes], list[bytes]]:
    """Join the keys and records of a page of rows; what stands behind a record is apart, by key.

    Returns (joined, trails, keys of rows that fail their checksum).
    Raises: `StoreDamaged` if a key does not follow the one before; the first is to follow `last`.
    """
