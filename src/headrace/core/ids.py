"""Ids of jobs: 128-bit UUIDv7 that rise within a process, and their text.

    ms 48 | version 4 | slot 12 | variant 2 | rest 62

The slot says which shard has the job (0 on a single node). The rest starts at a random place each
millisecond and rises by random steps, so that ids sort by time of submit and one cannot be guessed
from another.

Source: RFC 9562, section 5.7 and method 2 of section 6.2.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import Final

from headrace._native import ID_BYTES, id_text, id_texts, ids_after

__all__ = ["ID_BYTES", "JobIds", "created_ms", "first_id_at", "id_parse", "id_text", "id_texts"]

_REST_BITS: Final = 62
_REST_MASK: Final = (1 << _REST_BITS) - 1
_START_BITS: Final = 61
"""The first id of a millisecond leaves the top bit clear, as room to rise."""
_STEP_BITS: Final = 32
_STEP_BYTES: Final = _STEP_BITS // 8
_STEPS: Final = struct.Struct("=1024I")
"""Steps drawn at once."""
_TEXT: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

assert 10_000 << _STEP_BITS < 1 << _START_BITS, "a batch within a millisecond stays within it"


class JobIds:
    """Makes ids. `entropy` gives random bytes; the system's source is meant.

    They are greater than `last`, the last one that was made before; empty for none.
    """

    def __init__(self, entropy: Callable[[int], bytes], last: bytes = b"", slot: int = 0) -> None:
        assert 0 <= slot < 1 << 12, slot
        self._entropy = entropy
        self._fixed = (0x7000 | slot) << 64 | 2 << _REST_BITS
        self._last_ms = -1
        self._base = 0
        self._rest = 0
        self._steps: Iterator[int] = iter(())
        if last:
            self._begin(int.from_bytes(last[:6], "big") + 1)

    def make(self, wall_ms: int) -> bytes:
        """Return an id greater than all before it, also when the wall clock goes back."""
        if wall_ms > self._last_ms:
            self._begin(wall_ms)
        else:
            step = next(self._steps, None)
            if step is None:
                self._steps = iter(_STEPS.unpack(self._entropy(_STEPS.size)))
                step = next(self._steps)
            self._rest += step + 1
            if self._rest >> _REST_BITS:  # 2^29 ids and more of one millisecond: borrow the next
                self._begin(self._last_ms + 1)
        return (self._base | self._rest).to_bytes(16, "big")

    def make_many(self, wall_ms: int, count: int) -> bytes:
        """Return ids as `make` would, joined."""
        if count == 1:
            return self.make(wall_ms)
        assert 0 < count << _STEP_BITS < 1 << _START_BITS
        first = self.make(wall_ms)
        if self._rest + (count << _STEP_BITS) >> _REST_BITS:
            first = self.make(self._last_ms + 1)
        made = ids_after(first, self._entropy((count - 1) * _STEP_BYTES))
        self._rest = int.from_bytes(made[-8:], "big") & _REST_MASK
        return made

    def _begin(self, ms: int) -> None:
        self._last_ms = ms
        self._base = ms << 80 | self._fixed
        self._rest = int.from_bytes(self._entropy(8), "big") >> (64 - _START_BITS)


def created_ms(job_id: bytes) -> int:
    """Return the wall clock of when an id was made."""
    return int.from_bytes(job_id[:6], "big")


def first_id_at(at_ms: int) -> bytes:
    """Return the least id of a job submitted at `at_ms` or later. Beyond 48 bits: none is."""
    return min(max(at_ms, 0), (1 << 48) - 1).to_bytes(6, "big") + bytes(10)


def id_parse(text: str) -> bytes | None:
    """Return the id that a text names, or None if it is not the text of one."""
    text = text.lower()
    if len(text) != 36 or _TEXT.fullmatch(text) is None:
        return None
    return bytes.fromhex(text.replace("-", ""))
