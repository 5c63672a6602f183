"""Jobs that wait for others or for a module: what they wait for, and what they have heard."""

from typing import TYPE_CHECKING

from headrace.core.ids import ID_BYTES
from headrace.core.job import Status
from sim.checkers_waits import spoils
from sim.model_job import ModelJob

if TYPE_CHECKING:
    from sim.model import Model


class Waiting:
    """Part of the model."""

    def __init__(self, model: "Model") -> None:
        self._model = model
        self.jobs: dict[bytes, ModelJob] = {}
        """Those that are INITIALIZING."""
        self.telling: set[bytes] = set()
        """What came to pass and is told to those who wait for it with the next tick."""

    def restarted(self) -> None:
        """What has come to pass, and was not told, is told now."""
        model = self._model
        for job_id, job in self.jobs.items():
            job.untold = model.durable[job_id].waits or []
            job.waits = {key: self.end_of(key) for key in job.untold}
            self.telling.update(key for key, end in job.waits.items() if end is not None)

    def add(self, job: ModelJob, after: list[bytes]) -> None:
        """Note what a job waits for, by what there is now."""
        model = self._model
        keys = [model.known_as.get(key, key) for key in after]
        if job.new.module_key:
            keys.append(job.new.module_key)
        job.waits = {key: self.end_of(key) for key in keys}
        if not job.new.any_end:
            self.telling.update(key for key, end in job.waits.items() if spoils(end))
        job.since = model.world.now
        self.jobs[job.job_id] = job
        model.world.counts["waiting for others"] += 1

    def end_of(self, key: bytes) -> Status | None:
        """Return how something ended that a job waits for; SKIPPED: it is gone."""
        model = self._model
        if len(key) > ID_BYTES:
            return Status.COMPLETED if key in model.modules else None
        if key in model.jobs or key in self.jobs:
            return None
        finished = model.ended.get(key)
        return Status.SKIPPED if finished is None else finished.status

    def modules(self) -> set[bytes]:
        """Return the modules that are waited for."""
        return {
            key
            for job in self.jobs.values()
            for key, end in job.waits.items()
            if len(key) > ID_BYTES and end is None
        }

    def came_to_pass(self, key: bytes, status: Status) -> None:
        for job in self.jobs.values():
            if key in job.waits and job.waits[key] is None:
                job.waits[key] = status
                job.since = self._model.world.now
                self.telling.add(key)

    def ticked(self) -> None:
        if "TICK_BATCH_MAX" not in self._model.settings.small:
            self.telling.clear()
