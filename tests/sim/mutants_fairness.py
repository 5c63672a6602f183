"""Mutants of fairness: whose turn it is."""

from contextlib import ExitStack
from typing import Any

from headrace.core.fairness import Line, Lines
from headrace.core.job import Event, Job
from headrace.core.live import Live
from sim.planting import planted, put


@planted
def newcomers_go_first(stack: ExitStack) -> None:
    """A tenant that had no jobs for a while has saved up its turns."""

    def place(_self: Lines, line: Line, priority: int) -> int:
        return line.following.get(priority, 0)

    put(stack, Lines, "place", place)


@planted
def newcomers_stand_behind_all(stack: ExitStack) -> None:
    """A job is put behind those of all tenants, as in a plain queue."""

    def place(self: Lines, _line: Line, priority: int) -> int:
        return max((line.following.get(priority, 0) for line in self.lines()), default=0)

    put(stack, Lines, "place", place)


@planted
def lines_forgotten_at_a_start(stack: ExitStack) -> None:
    """After a restart a tenant's next job does not stand behind those it has."""
    put(stack, Lines, "go_on", lambda *_: None)


@planted
def reached_forgotten_at_a_start(stack: ExitStack) -> None:
    """After a restart a newcomer stands before everybody who waits."""
    put(stack, Lines, "begin", lambda *_: None)


@planted
def weights_ignored(stack: ExitStack) -> None:
    """All tenants take the same steps."""
    put(stack, Lines, "weigh", lambda *_: None)


@planted
def turns_are_free_when_nobody_waits(stack: ExitStack) -> None:
    """Who always comes back at once is served alone."""
    put(stack, Lines, "trim", lambda _self, line: line.following.clear())


@planted
def cancelled_jobs_had_their_turn(stack: ExitStack) -> None:
    """A line that went away without being served counts against its tenant."""
    put(stack, Lines, "trim", lambda *_: None)


@planted
def lapsed_jobs_stand_in_line_again(stack: ExitStack) -> None:
    """A job that comes back loses its place."""

    def change(self: Live, now_ms: int, handle: int, job: Job, event: Event, *rest: Any) -> None:
        if event in (Event.LAPSE, Event.RELEASE):
            job.order = self.place(job)
        old(self, now_ms, handle, job, event, *rest)

    old = put(stack, Live, "store_change", change)


@planted
def due_jobs_stand_where_they_were_put(stack: ExitStack) -> None:
    """A job that comes due takes no place in line."""
    put(stack, Live, "place", lambda _self, job: job.order)


@planted
def jobs_that_are_alike_share_a_place(stack: ExitStack) -> None:
    """A batch of jobs takes one place, and one turn."""

    def stand(self: Lines, line: Line, priority: int, place: int, jobs: int = 1) -> None:
        old(self, line, priority, place, 1)
        line.ready += jobs - 1

    old = put(stack, Lines, "stand", stand)
