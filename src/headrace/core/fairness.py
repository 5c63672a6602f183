"""Places in line: fair shares between tenants, first come first served within one.

Within a priority the match index gives out the smallest place first. A tenant's jobs get places a
step apart, and the step is smaller the more weight the tenant has; so tenants that all have jobs
waiting are served in turn, by their weights, however many jobs each has:

    weight 1   a ·       · b       · c        places 0, 1, 2 steps
    weight 2   d · e · f ·                    places 0, 1/2, 1 step
    who comes when `a`, `d` and `e` are gone begins at `e`: before `b`, not before `a`

A job stands where its tenant's jobs go on, but never before the place that was reached: nobody
saves up turns by not asking for any. With one tenant that is a plain queue. This is start-time
fair queueing; between a tenant's job getting its place and its start, another tenant of the same
weight starts at most one job more than stand before it of its own tenant, and one.

Source: Goyal, Vin, Cheng, Start-Time Fair Queueing, SIGCOMM 1996.
"""

from typing import Final

import msgspec

from headrace._native import ORDER_BITS
from headrace.wire import limits

STEP: Final = 1 << 16
"""Of a tenant of weight 1; 2^44 jobs of a priority fit an order."""
PLACE_MAX: Final = (1 << ORDER_BITS) - 1 - limits.SUBMIT_JOBS_MAX * STEP
IDLE_MAX: Final = 1_000
"""Tenants without live jobs whose last turn is remembered."""


class Line(msgspec.Struct, eq=False):
    """Where the jobs of one tenant stand."""

    tenant: str
    step: int
    jobs: int = 0
    """Live ones."""
    spec_bytes: int = 0
    """Of their specs, as stored."""
    ready: int = 0
    """Jobs in the match index."""
    classes: int = 0
    """Classes of its live jobs."""
    following: dict[int, int] = {}
    """By priority: the first place behind all that it has had. What is not here does not count."""


class Lines:
    """The lines of all tenants that have live jobs, or had a turn just now."""

    def __init__(self) -> None:
        self._by_tenant: dict[str, Line] = {}
        self._steps: dict[str, int] = {}
        """Of tenants with a weight of their own."""
        self._idle: dict[str, None] = {}
        """Tenants without live jobs, the longest first."""
        self.reached: dict[int, int] = {}
        """By priority: the place of the last job that was given out for the first time."""

    # Tenants

    def acquire(self, tenant: str) -> Line:
        """Return a tenant's line, for one more class."""
        line = self._by_tenant.get(tenant)
        if line is None:
            line = self._by_tenant[tenant] = Line(tenant, self._steps.get(tenant, STEP))
        self._idle.pop(tenant, None)
        line.classes += 1
        return line

    def release(self, line: Line) -> None:
        line.classes -= 1
        if line.classes:
            return
        assert line.ready == 0, "its jobs are gone"
        if not line.following:
            del self._by_tenant[line.tenant]
            return
        self._idle[line.tenant] = None
        if len(self._idle) > IDLE_MAX:
            self._forget_idle()

    def _forget_idle(self) -> None:
        for tenant in list(self._idle):
            self.trim(self._by_tenant[tenant])
            if not self._by_tenant[tenant].following or len(self._idle) > IDLE_MAX // 2:
                del self._idle[tenant], self._by_tenant[tenant]

    def weigh(self, tenant: str, weight: int) -> None:
        """Set a tenant's weight, for all jobs that get a place from now on."""
        step = max(1, round(STEP / weight))
        if step == STEP:
            self._steps.pop(tenant, None)
        else:
            self._steps[tenant] = step
        line = self._by_tenant.get(tenant)
        if line is not None:
            line.step = step

    def waiting(self) -> int:
        """Return how many tenants have jobs in the match index."""
        return sum(1 for line in self._by_tenant.values() if line.ready)

    def lines(self) -> list[Line]:
        return list(self._by_tenant.values())

    def used(self) -> list[str]:
        """Return the tenants that have live jobs."""
        return [line.tenant for line in self._by_tenant.values() if line.classes]

    def ready(self, tenant: str) -> int:
        line = self._by_tenant.get(tenant)
        return 0 if line is None else line.ready

    def jobs(self, tenant: str) -> int:
        """Return how many live jobs a tenant has."""
        line = self._by_tenant.get(tenant)
        return 0 if line is None else line.jobs

    def spec_bytes(self, tenant: str) -> int:
        """Return how many bytes the specs of a tenant's live jobs have."""
        line = self._by_tenant.get(tenant)
        return 0 if line is None else line.spec_bytes

    # Jobs

    def place(self, line: Line, priority: int) -> int:
        """Return the place of the next job of a line; `stand` says that it is taken."""
        place = line.following.get(priority, 0)
        reached = self.reached.get(priority, 0)
        if place < reached:
            place = reached
        return place if place < PLACE_MAX else PLACE_MAX

    def stand(self, line: Line, priority: int, place: int, jobs: int = 1) -> None:
        """Note that jobs wait, a step apart from this place on."""
        line.ready += jobs
        end = place + jobs * line.step
        if line.following.get(priority, 0) < end:
            line.following[priority] = end

    def leave(self, line: Line, jobs: int) -> None:
        """Note that jobs wait no more."""
        line.ready -= jobs
        if line.ready == 0:
            self.trim(line)

    def trim(self, line: Line) -> None:
        """Let a line that nobody stands in owe a turn at most: those who left had none."""
        for priority, place in list(line.following.items()):
            reached = self.reached.get(priority, 0)
            if place <= reached:
                del line.following[priority]
            else:
                line.following[priority] = min(place, reached + line.step)

    # Restart

    def begin(self, first: dict[int, int]) -> None:
        """Take the smallest places in line for those reached, by priority; as often as found."""
        for priority, place in first.items():
            self.reached[priority] = min(self.reached.get(priority, place), place)

    def go_on(self, line: Line, priority: int, last: int) -> None:
        """Note the last place that stored jobs of a line have; `ready` is the caller's."""
        line.following[priority] = max(line.following.get(priority, 0), last + line.step)

    def begun(self, held: dict[int, int]) -> None:
        """All is restored. `held`: by priority the largest place of a job in a worker's hands."""
        for priority, place in held.items():
            self.reached.setdefault(priority, place)
        for line in self._by_tenant.values():
            if line.ready == 0:
                self.trim(line)
