"""Ends of attempts: which are kept, for how long, and that they go with their job."""

import msgspec
import pytest

from headrace.core.effects import Finished, JobChanged, JobFinished, Trail
from headrace.core.job import Event, Status
from headrace.store import attempts
from headrace.store.attempts import AttemptEnd
from headrace.wire.limits import ATTEMPT_ERROR_CHARS

TRAIL = Trail(updated_at_ms=9, started_at_ms=5, worker="w", error="e", code="c")
ENDS = {Event.RETRY, Event.LAPSE, Event.RELEASE, Event.SNOOZE, Event.CHECKPOINT}


@pytest.mark.parametrize("event", Event)
def test_a_change_ends_an_attempt_if_its_worker_has_the_job_no_more(event: Event) -> None:
    found = attempts.of_change(JobChanged(b"", event, b"", TRAIL), 3)
    assert found == (AttemptEnd(3, event, 5, 9, "w", "e", "c") if event in ENDS else None)


def test_what_no_worker_had_ends_no_attempt() -> None:
    trail = msgspec.structs.replace(TRAIL, worker="")
    assert attempts.of_change(JobChanged(b"", Event.RELEASE, b"", trail), 3) is None
    end = Finished(Status.CANCELLED, 9, b"")
    assert attempts.of_finish(JobFinished(b"", Event.CANCEL, end), 3) is None


def test_the_end_of_a_job_is_that_of_its_attempt_unless_it_completed() -> None:
    end = Finished(Status.FAILED, 9, b"", 5, "w", "e", "c")
    found = attempts.of_finish(JobFinished(b"", Event.FAIL, end), 3)
    assert found == AttemptEnd(3, Event.FAIL, 5, 9, "w", "e", "c")
    end = msgspec.structs.replace(end, status=Status.COMPLETED)
    assert attempts.of_finish(JobFinished(b"", Event.COMPLETE, end), 3) is None


def test_a_long_error_is_cut() -> None:
    trail = msgspec.structs.replace(TRAIL, error="é" * 9_000)
    found = attempts.of_change(JobChanged(b"", Event.RETRY, b"", trail), 1)
    assert found is not None
    assert found.error == "é" * ATTEMPT_ERROR_CHARS


def test_an_end_is_read_as_it_was_written() -> None:
    end = AttemptEnd(3, Event.RETRY, 5, 9, "w", "e", "c")
    assert attempts.unpack(attempts.pack(end)) == end
