"""Seals of rows: the checksum in front of each value."""

def seal(table: int, key: bytes, payload: bytes) -> bytes: ...
def unseal(table: int, key: bytes, value: bytes) -> bytes:
    """Return the payload. Raises `RecordCorrupt`."""

def fold(wanted: bool) -> bool:
    """Compute checksums by folding, if it is wanted and this processor can; return whether."""
