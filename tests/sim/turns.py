"""Whose turn it is, kept by looking: what must hold of the places that jobs get in line."""

from typing import TYPE_CHECKING, Final

from headrace.core.job import Event
from headrace.wire.documents import Kind
from sim.model_job import ModelJob
from sim.said import said_by
from sim.settings import WEIGHT_MAX
from sim.world import fail

if TYPE_CHECKING:
    from sim.model import Model

STEP: Final = 1 << 16
"""Of a tenant of weight 1."""
STEP_MIN: Final = round(STEP / WEIGHT_MAX)

Key = tuple[str, int]
"""Tenant and priority."""


class Waits:
    """A job that waits, and whom it has seen pass."""

    def __init__(self, reached: int) -> None:
        self.reached = reached
        """When it got its place."""
        self.passed: dict[str, int] = {}


class Turns:
    """Places given and reached since the server last started."""

    def __init__(self, model: "Model") -> None:
        self._model = model
        self.reached: dict[int, int] = {}
        """By priority."""
        self._end: dict[Key, int] = {}
        """Behind the last place of a tenant."""
        self._served: dict[Key, int] = {}
        """The least that a tenant's next place is for its last job given out, until it is reached;
        its weight may have changed."""
        self._away: dict[Key, int] = {}
        """The furthest place reached since the tenant had jobs waiting."""
        self._waits: dict[bytes, Waits] = {}
        for job in model.held.values():
            self.reached[job.priority] = max(self.reached.get(job.priority, 0), job.order)
        least: dict[int, int] = {}
        for job in model.ready.values():
            least[job.priority] = min(least.get(job.priority, job.order), job.order)
        self.reached |= least
        for job in (*model.ready.values(), *model.held.values()):
            self._stands(job)

    def step(self, tenant: str) -> int:
        document = self._model.documents.get((Kind.TENANT, tenant))
        return round(STEP / said_by(document).get("weight", 1))

    def _stands(self, job: ModelJob) -> None:
        key = _key(job)
        self._end[key] = max(self._end.get(key, 0), job.order + self.step(job.tenant))

    def came(self, job: ModelJob, *, kept: int | None) -> None:
        """A job begins to wait: at a place of its own, or at the one it `kept`."""
        tenant, priority = key = _key(job)
        reached = self.reached.get(priority, 0)
        mine = [one for one in self._model.ready.values() if one.tenant == tenant]
        if kept is not None:
            if job.order != kept:
                fail("place_kept", f"{job.new} stood at {kept}, and comes back at {job.order}")
        else:
            if job.order < reached:
                fail("nobody_saves_turns", f"{job.new} stands at {job.order}, before {reached}")
            for one in mine:
                if one.priority == priority and one.order >= job.order:
                    fail("first_come_first_served", f"{job.new} is put before {one.new}")
            if job.order < self._served.get(key, 0):
                fail("turn_is_paid_for", f"{job.new} stands at {job.order}: {self._served[key]}")
            end = self._end.get(key, 0)
            if not mine:  # who went without being served costs nothing
                end = min(end, self._away.get(key, reached) + STEP)
            if job.order > max(reached, end):
                fail("no_place_too_far", f"{job.new} stands at {job.order}: {reached}, {end}")
        self._stands(job)
        self._waits[job.job_id] = Waits(reached)

    def left(self, job: ModelJob, event: Event, attempt: int) -> None:
        """A job waits no more."""
        key = _key(job)
        priority = job.priority
        self._waits.pop(job.job_id, None)
        if event is Event.LEASE and attempt == 0:
            self._served[key] = job.order + STEP_MIN
            self._passes(job)
            back = job.order < self.reached.get(priority, 0)  # what it fits had been busy
            self.reached[priority] = job.order
            for mine, paid in list(self._served.items()):
                if mine[1] == priority and (back or paid <= job.order):
                    del self._served[mine]
            for other in self._model.ready.values() if back else ():
                if other.priority == priority:
                    self._waits.pop(other.job_id, None)
        waiting = {one.tenant for one in self._model.ready.values()}
        for key in self._end:
            if key[0] in waiting:
                self._away.pop(key, None)
            else:
                self._away[key] = max(self._away.get(key, 0), self.reached.get(key[1], 0))

    def _passes(self, job: ModelJob) -> None:
        """Count a job for those of other tenants that it goes before, and that came before it."""
        tenant = job.tenant
        for other in self._model.ready.values():
            waits = self._waits.get(other.job_id)
            if waits is None or other.tenant == tenant or other.priority != job.priority:
                continue
            if not waits.reached <= job.order <= other.order:
                continue
            waits.passed[tenant] = waits.passed.get(tenant, 0) + 1
            most = (other.order - waits.reached) // STEP_MIN + 1
            if waits.passed[tenant] > most:
                fail("fair_share", f"{waits.passed[tenant]} of {tenant} before {other.new}: {most}")


def _key(job: ModelJob) -> Key:
    return job.tenant, job.priority
