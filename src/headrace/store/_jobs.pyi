"""A job as it is stored: the payloads of its rows, read when they are asked for."""

from typing import final

from headrace.core.effects import Finished, Trail
from headrace.core.job import Status

@final
class StoredJob:
    """A job as committed: LIVE while it lives, DONE afterwards, which wins if there are both.

    Shape: payloads, without their seals.
    """

    def __init__(
        self,
        job_id: bytes,
        owner_id: int,
        spec: bytes,
        live: bytes | None = None,
        done: bytes | None = None,
    ) -> None: ...
    @property
    def job_id(self) -> bytes: ...
    @property
    def owner_id(self) -> int: ...
    @property
    def spec(self) -> bytes: ...
    @property
    def live(self) -> bytes | None: ...
    @property
    def done(self) -> bytes | None: ...
    @property
    def finished(self) -> Finished | None:
        """How it ended; None while it lives. In a list without a long `body`.

        Raises: msgspec.MsgspecError.
        """
    @property
    def trail(self) -> Trail | None:
        """What is kept beside the record of a live job; None for one that says nothing.

        Raises: msgspec.MsgspecError.
        """
    @property
    def record(self) -> bytes: ...
    @property
    def status(self) -> Status: ...
    @property
    def attempt(self) -> int:
        """How many times it was given to a worker."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
