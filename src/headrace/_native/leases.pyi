"""The leases of the jobs in workers' hands, and the two passes over many jobs at once."""

from collections.abc import Iterator
from typing import final

from headrace._native.jobs import JobTable
from headrace._native.token_text import Tokens
from headrace.core.job import Event  # in types only: at run time it is handed down

SPAN_BUCKETS: int
"""Buckets of durations: 8 to each power of two of milliseconds, up to 35 years."""

def span_bucket(span_ms: int) -> int:
    """Return the bucket of a duration. It holds those up to and with its bound, which is at most
    an eighth above the bound before; each power of two is a bound.
    """

@final
class Held:
    """The leases of one session, in the order given out."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Lease]:
        """The leases as they are now."""

@final
class Holder:
    """What the leases that one poll got have in common."""

    def __init__(
        self, worker: str, session: str = "", seq: int = 0, held: Held | None = None
    ) -> None: ...
    @property
    def worker(self) -> str: ...
    @property
    def session(self) -> str:
        """Empty: none."""
    @property
    def seq(self) -> int: ...
    @property
    def held(self) -> Held | None:
        """The session's; a lease is in it as long as a table has the lease."""

@final
class Lease:
    """A job in a worker's hands.

    Units: `_ms` the engine's clock, `_at_ms` the wall clock.
    """

    def __init__(
        self,
        handle: int,
        job_id: bytes,
        attempt: int,
        epoch: int,
        holder: Holder,
        granted_ms: int,
        expires_ms: int,
        deadline_ms: int,
        deadline_at_ms: int,
        started_at_ms: int = 0,
    ) -> None: ...
    @property
    def handle(self) -> int: ...
    @property
    def job_id(self) -> bytes: ...
    @property
    def attempt(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def holder(self) -> Holder: ...
    @property
    def granted_ms(self) -> int: ...
    expires_ms: int
    """Each heartbeat moves it."""
    @property
    def deadline_ms(self) -> int:
        """The job's timeout; the server's own stop comes a grace later."""
    @property
    def deadline_at_ms(self) -> int:
        """The same, as told to the worker."""
    started_at_ms: int
    """0: it has not said that it started."""
    cancel_by_ms: int
    """0 unless a cancel was asked for."""
    progress: float
    details: str
    noted: int
    """Reports of progress stored for the job, of all attempts; -1: not yet counted."""
    noted_ms: int
    """When the last one was stored; 0: none of this attempt."""
    unsaved: bool
    """There was news since then."""
    log_bytes: int
    """Of the whole job; -1: not yet counted."""
    log_cut: bool
    order: str
    """What the worker has to be told: "cancel", "suspend" or nothing."""
    told_ms: int
    """When it was told last; -1: not yet."""
    ticket: int
    """The parked poll that would hear an order; -1: none."""

@final
class Granted:
    """What `LeaseTable.grant` did."""

    @property
    def tokens(self) -> bytes:
        """Texts, joined; so are ids and records."""
    @property
    def job_ids(self) -> bytes: ...
    @property
    def records(self) -> bytes: ...
    @property
    def deadlines_at_ms(self) -> list[int]: ...
    @property
    def by_class(self) -> dict[int, int]:
        """Jobs by class id."""
    @property
    def by_status(self) -> dict[int, int]:
        """Jobs by the status before."""
    @property
    def reached(self) -> dict[int, int]:
        """By priority: the order of the last job that was not given out before."""
    @property
    def waited_ms(self) -> int:
        """From ready to now, summed up."""
    @property
    def by_wait(self) -> dict[int, int]:
        """Jobs by the bucket of their wait, as `span_bucket` has it."""
    @property
    def with_checkpoint(self) -> list[int]:
        """Positions of the jobs that have one."""
    @property
    def with_deadline_to_start(self) -> list[int]:
        """Handles of the jobs that have one, and run for the first time."""

@final
class Ended:
    """What `LeaseTable.complete` did."""

    @property
    def count(self) -> int: ...
    @property
    def worker(self) -> str: ...
    @property
    def job_ids(self) -> bytes:
        """Joined; so are the records."""
    @property
    def records(self) -> bytes: ...
    @property
    def started_at_ms(self) -> list[int]:
        """When each attempt was begun, or given out."""
    @property
    def by_class(self) -> dict[int, int]:
        """Jobs by class id."""
    @property
    def bytes_by_class(self) -> dict[int, int]:
        """The bytes of their specs by class id; what has none may be left out."""
    @property
    def by_status(self) -> dict[int, int]:
        """Jobs by the status before."""
    @property
    def by_granted_ms(self) -> dict[int, int]:
        """Jobs by when they were given out."""
    @property
    def with_webhook(self) -> bool:
        """Whether one of the jobs has one."""
    @property
    def with_retention(self) -> bool:
        """Whether one of the jobs says how long it is kept."""

@final
class LeaseTable:
    """The leases of the jobs of one table, by job and by the time they are due.

    Cost: O(1) to find and to drop one, O(log leases) to move when it is due.
    Raises: KeyError for a second lease of a job, AssertionError for a lease that is not held.
    """

    def __new__(cls, jobs: JobTable, tokens: Tokens) -> LeaseTable: ...
    def add(self, lease: Lease, due_ms: int) -> None: ...
    def drop(self, lease: Lease) -> None:
        """Forget a lease; its job stays."""
    def of(self, handle: int) -> Lease | None:
        """Return the lease of a job, or None."""
    def named(self, token: str) -> Lease | None:
        """Return the lease that has this token, or None."""
    def token(self, lease: Lease) -> str: ...
    def __contains__(self, lease: Lease, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Lease]:
        """The leases as they are now, in no order that matters."""
    def due_set(self, lease: Lease, due_ms: int) -> None: ...
    def due_of(self, lease: Lease) -> int | None: ...
    def due_ms(self) -> int | None:
        """Return the earliest instant."""
    def pop_due(self, now_ms: int, limit: int) -> list[Lease]:
        """Return up to `limit` leases with due <= now_ms, the earliest first.

        They stay held, and are due no more until `due_set`.
        """
    def grant(
        self,
        handles: list[int],
        event: Event,
        epoch: int,
        holder: Holder,
        now_ms: int,
        wall_ms: int,
        lease_ms: int,
        grace_ms: int,
    ) -> Granted:
        """Open the next attempt of each job, move it by `event`, and lease it to the holder.

        Each is due when the term or its timeout and the grace is over, whichever comes first.
        Raises: `InvalidTransition`, OverflowError; both are defects, and what came before stands.
        """
    def complete(
        self,
        tokens: bytes,
        start: int,
        event: Event,
        outcome: int,
        now_ms: int,
        wall_ms: int,
        own: set[int] | None = None,
    ) -> Ended:
        """End the attempts that the tokens from the `start`-th name, and forget their jobs.

        Stops at the first that names no lease held, or one of another worker than the first's, or
        whose job is of none of the classes `own`, if they are told, or takes no such event; that
        one is the caller's. `tokens` are texts, joined.
        """
    def memory_bytes(self) -> int:
        """Return the bytes allocated, without the leases themselves."""
    def check(self) -> None:
        """Assert every invariant."""
