"""Seals of rows: the checksum in front of each value."""

def seal(table: int, key: bytes, payload: bytes) -> bytes: ...
def fold(wanted: bool) -> bool:
    """Compute checksums by folding, if it is wanted and this processor can; return whether."""
