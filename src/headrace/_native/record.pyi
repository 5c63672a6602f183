"""One job's record, taken out of the table to be read and changed."""

from collections.abc import Callable, Iterable
from typing import Final, final

from headrace.core.job import Event, Status  # in types only: at run time it hands them down

RECORD_FORMAT: Final = 1
ID_BYTES: Final = 16
RECORD_BYTES: Final = 68
ORDER_BITS: Final = 60

def learn_life(
    statuses: Iterable[Status],
    transitions: dict[tuple[Status, Event], Status],
    refusal: Callable[[bytes, Status, Event, str], Exception],
) -> None:
    """Take the table of a job's life: the statuses, (status, event) to status, and what to raise
    of (job_id, status, event, story) for an event that has no row.
    """

@final
class Job:
    """The changing part of a live job. Persisted as `pack()` writes it, 68 bytes.

    Units: `_ms` durations, `_at_ms` wall-clock instants, `due_ms` as `due_is_wall` says.
    Raises: OverflowError for a number that its field cannot hold.
    """

    def __init__(
        self,
        job_id: bytes,
        status: Status,
        priority: int,
        class_id: int,
        owner_id: int,
        order: int,
        timeout_ms: int,
        retry_delay_ms: int,
        retry_backoff_centi: int,
        retries_max: int,
        attempt: int = 0,
        epoch: int = 0,
        attempt_open: bool = False,
        outcome: int = 0,
        failures: int = 0,
        crashes: int = 0,
        stops: int = 0,
        due_ms: int = 0,
        due_is_wall: bool = False,
        start_before_at_ms: int = 0,
        has_checkpoint: bool = False,
        has_webhook: bool = False,
        spec_bytes: int = 0,
        has_retention: bool = False,
    ) -> None: ...
    @staticmethod
    def unpack(job_id: bytes, record: bytes) -> Job:
        """Read a record. Raises `ValueError` on a format this version does not know."""
    def pack(self) -> bytes:
        """Return the record as stored, `RECORD_BYTES` long."""
    def pack_alike(self, specs: list[bytes], step: int) -> tuple[bytes, int]:
        """Return the records of jobs that are like this one, each a step of order behind the one
        before, joined; and how many bytes their specs have."""
    def move(self, event: Event) -> None:
        """Take the transition of the table. Raises `InvalidTransition`: a defect of the caller."""
    def can(self, event: Event) -> bool: ...
    def lease(self, epoch: int) -> None:
        """Open the next attempt."""
    def close(self, outcome: int) -> None:
        """End the current attempt as it was reported."""
    @property
    def match_key(self) -> int:
        """Position in the match index: higher priority first, older first. Fits 64 bits."""
    @property
    def job_id(self) -> bytes:
        """16 bytes, a UUIDv7; not part of the record, it is its key."""
    @property
    def status(self) -> Status: ...
    @status.setter
    def status(self, value: Status) -> None: ...
    @property
    def priority(self) -> int:
        """0..9, 9 first."""
    @property
    def class_id(self) -> int:
        """The interned requirements (see `core.classes`)."""
    @property
    def owner_id(self) -> int:
        """The interned (tenant, user)."""
    @property
    def order(self) -> int:
        """Place among the ready jobs of one priority (see `core.fairness`). SCHEDULED: a stamp,
        who comes first of those that are due together."""
    @order.setter
    def order(self, value: int) -> None: ...
    @property
    def timeout_ms(self) -> int: ...
    @property
    def retry_delay_ms(self) -> int: ...
    @property
    def retry_backoff_centi(self) -> int: ...
    @property
    def retries_max(self) -> int: ...
    @property
    def attempt(self) -> int:
        """Deliveries so far; strictly rising, the fence of every report."""
    @attempt.setter
    def attempt(self, value: int) -> None: ...
    @property
    def epoch(self) -> int:
        """The server's epoch when the current attempt was given out."""
    @epoch.setter
    def epoch(self, value: int) -> None: ...
    @property
    def attempt_open(self) -> bool:
        """The current attempt has not been reported. Stays true when its lease lapses."""
    @attempt_open.setter
    def attempt_open(self, value: bool) -> None: ...
    @property
    def outcome(self) -> int:
        """How the last closed attempt was reported (`commands.Outcome`), 0 for none."""
    @outcome.setter
    def outcome(self, value: int) -> None: ...
    @property
    def failures(self) -> int: ...
    @failures.setter
    def failures(self, value: int) -> None: ...
    @property
    def crashes(self) -> int: ...
    @crashes.setter
    def crashes(self, value: int) -> None: ...
    @property
    def stops(self) -> int:
        """Planned: released, snoozed, suspended. Cost no try."""
    @stops.setter
    def stops(self, value: int) -> None: ...
    @property
    def due_ms(self) -> int:
        """When it became ready, or will; 0: when it was submitted. On the wall clock if
        `due_is_wall`."""
    @due_ms.setter
    def due_ms(self, value: int) -> None: ...
    @property
    def due_is_wall(self) -> bool: ...
    @due_is_wall.setter
    def due_is_wall(self, value: bool) -> None: ...
    @property
    def start_before_at_ms(self) -> int:
        """Wall clock; 0 for none."""
    @property
    def has_checkpoint(self) -> bool: ...
    @has_checkpoint.setter
    def has_checkpoint(self, value: bool) -> None: ...
    @property
    def has_webhook(self) -> bool:
        """Its client named a URL to be told of its end."""
    @property
    def spec_bytes(self) -> int:
        """How long its spec is, as stored: 24 bits."""
    @property
    def has_retention(self) -> bool:
        """Its client said how long it is kept after its end."""
