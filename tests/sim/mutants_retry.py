"""Planted defects of jobs that ended and run again."""

from contextlib import ExitStack
from typing import Any

import msgspec

from headrace.core import controlling
from headrace.core.commands import Control
from headrace.core.effects import Effect, Finished, JobRedriven
from headrace.core.job import Job
from headrace.core.live import Live
from headrace.store import layout
from sim.planting import lossy, planted, put, translate


def _redriven_with(stack: ExitStack, **wrong: Any) -> None:
    class Redriven:
        unpack = staticmethod(Job.unpack)

        def __new__(cls, *args: Any, **right: Any) -> Any:
            return Job(*args, **{**right, **wrong})

    put(stack, controlling, "Job", Redriven)


@planted
def redrive_keeps_failures(stack: ExitStack) -> None:
    """What failed too often has one try left when it runs again, at most."""
    _redriven_with(stack, failures=1)


@planted
def redrive_counts_attempts_anew(stack: ExitStack) -> None:
    """The first attempt after a redrive has the number of the job's first."""
    _redriven_with(stack, attempt=0)


@planted
def redrive_leaves_the_attempt_open(stack: ExitStack) -> None:
    """The last attempt before a redrive can still be reported."""
    _redriven_with(stack, attempt_open=True)


@planted
def redrive_needs_no_force(stack: ExitStack) -> None:
    """A job that completed runs again for the asking."""

    def redrive(
        live: Live, now_ms: int, command: Control, finished: Finished, effects: list[Effect]
    ) -> Any:
        forced = msgspec.structs.replace(command, force=True)
        return old(live, now_ms, forced, finished, effects)

    old = put(stack, controlling, "redrive", redrive)


@planted
def redrive_leaves_the_end_on_disk(stack: ExitStack) -> None:
    """A redriven job has two rows: where it stands, and how it had ended."""

    lossy(stack, JobRedriven, lambda _effect, table, _key, _value: table == layout.DONE)


@planted
def redrive_is_not_stored(stack: ExitStack) -> None:
    """A redriven job is live in memory alone."""
    translate(stack, JobRedriven, lambda _rows, _effect: None)
