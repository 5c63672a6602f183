"""Jobs that came each by itself, taken together: what is the same for all is done once."""

from collections.abc import Iterator

import msgspec

from headrace.core.commands import NewJobs, Submit, SubmitEach, Submitted
from headrace.core.effects import Effect
from headrace.core.ids import ID_BYTES
from headrace.core.live import ArchiveFault, Live, corrupt
from headrace.core.submitting import submit
from headrace.wire.problems import Problem


def submit_each(
    live: Live, now_ms: int, command: SubmitEach, effects: list[Effect]
) -> list[Submitted | Problem]:
    """Take all as one submit. If that is refused, nothing has changed: take each by itself."""
    together = _submit(live, now_ms, command, effects)
    if not isinstance(together, Problem):
        return [*together]
    replies: list[Submitted | Problem] = []
    for new in command.jobs:
        for alone in _apart(new):
            one = Submit(command.caller, [alone], command.modules)
            reply = _submit(live, now_ms, one, effects)
            replies.append(reply if isinstance(reply, Problem) else reply[0])
    return replies


def _apart(jobs: NewJobs) -> Iterator[NewJobs]:
    for position, spec in enumerate(jobs.specs):
        job_id = jobs.job_ids[position * ID_BYTES : (position + 1) * ID_BYTES]
        yield msgspec.structs.replace(jobs, job_ids=job_id, specs=[spec])


def _submit(
    live: Live, now_ms: int, command: Submit, effects: list[Effect]
) -> list[Submitted] | Problem:
    try:
        return submit(live, now_ms, command, effects)
    except ArchiveFault:  # one job's key cannot be read; that is nothing to the others
        return corrupt()
