"""A slab of fixed-size job records with an index by id."""

from collections.abc import Iterator
from typing import Self, final

from headrace._native.record import Job

@final
class JobTable:
    """Opaque records of `record_bytes` bytes, found by a 16-byte id or by handle.

    Handles are small, dense and reused, the last freed one first.
    Raises: IndexError for a handle that is not in use, ValueError for a wrong size.
    """

    def __new__(cls, record_bytes: int) -> Self: ...
    @property
    def record_bytes(self) -> int: ...
    def add(self, job_id: bytes, record: bytes) -> int:
        """Return the new handle. Raises: KeyError if the id is present."""
    def add_many(self, rows: bytes) -> int:
        """Add ids and records, one after the other, to a table from which nothing was removed.

        The ids rise, and begin behind the id of the last handle; that no other is among them is
        the caller's word.

        Returns the first handle; the others follow it. Raises: ValueError if an id does not rise.
        """
    def add_alike(self, job_ids: bytes, records: bytes) -> list[int]:
        """Add jobs whose ids are joined, and whose records are; return their handles.

        Raises: KeyError if an id is present; the jobs before it are added.
        """
    def reserve(self, rows: int) -> None:
        """Make the index of an empty table as large as so many rows need."""
    def find(self, job_id: bytes) -> int:
        """Return the handle, or -1."""
    def id(self, handle: int) -> bytes: ...
    def record(self, handle: int) -> bytes: ...
    def load(self, handle: int) -> Job:
        """Return the job: a copy, to be changed and then `set`. Raises: TypeError for records of
        another size than a job's."""
    def set(self, handle: int, record: bytes) -> None: ...
    def remove(self, handle: int) -> None: ...
    def ids(self) -> Iterator[bytes]:
        """Yield the ids in handle order; the table must not change meanwhile."""
    def __len__(self) -> int: ...
    def memory_bytes(self) -> int:
        """Return the bytes allocated for slab and index."""
    def check(self) -> None:
        """Assert every invariant."""
