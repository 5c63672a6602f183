"""Views of jobs: what a spec says and what it leaves out, and where the job stands."""

from typing import Any

import msgspec
import pytest

from headrace.core.effects import Finished, Trail
from headrace.core.job import Job, Status
from headrace.http.views import NO_PROGRESS, Progress, job_view
from headrace.store.contract import StoredJob
from headrace.wire.schema import JobView, Spec

ID = (5_000).to_bytes(6, "big") + b"\x70\0" + (1 << 63).to_bytes(8, "big")
PLAIN = Spec(id="i", name="n")
FULL: dict[str, Any] = {
    "type": "send",
    "params": msgspec.Raw(b'{"a": [1,  2]}'),
    "wasm_sha256": "0f",
    "entry_point": "main",
    "arguments": ["-v"],
    "environment": {"A": "b"},
    "stdin": "x",
    "success_codes": [3],
    "requirements": {"cpu": 2, "labels": {"zone": "eu"}},
    "priority": 9,
    "queue": "slow",
    "max_retries": 4,
    "retry_delay": 1.5,
    "retry_backoff": 2,
    "timeout": 60,
    "scheduled_at": "2027-01-31T12:00:00Z",
    "start_before": "2027-01-31T13:00:00Z",
    "after": ["j"],
    "after_any_end": True,
    "idempotency_key": "k",
    "tags": ["t"],
    "webhook_url": "https://example.com",
    "tenant": "acme",
    "owner": "ann",
    "traceparent": "00-1-2-01",
    "tracestate": "a=b",
    "created_at": "2027-01-01T00:00:00Z",
    "retention": 60,
}
NOT_SHOWN = {"stdin", "success_codes", "webhook_url", "tenant"}


def viewed(spec: Spec, status: Status = Status.QUEUED, **more: Any) -> JobView:
    job = Job(ID, status, 5, 1, 1, 7, 1_000, 1_000, 200, 2, **more)
    return job_view(StoredJob(ID, 1, msgspec.json.encode(spec), job.pack()), "acme", NO_PROGRESS)


def test_every_field_of_a_spec_is_meant() -> None:
    assert set(FULL) | {"id", "name"} == set(Spec.__struct_fields__)
    assert NOT_SHOWN.isdisjoint(JobView.__struct_fields__)


@pytest.mark.parametrize("name", sorted(set(FULL) - NOT_SHOWN))
def test_a_field_that_is_asked_for_is_shown_and_only_it(name: str) -> None:
    view = viewed(msgspec.structs.replace(PLAIN, **{name: FULL[name]}))
    plain = viewed(PLAIN)
    assert getattr(view, name) == FULL[name] != getattr(plain, name)
    if name == "created_at":
        plain.updated_at = FULL[name]
    setattr(plain, name, FULL[name])
    assert msgspec.json.encode(view) == msgspec.json.encode(plain)


def test_a_field_that_nobody_asked_for_is_shown_as_what_counts() -> None:
    view = viewed(PLAIN)
    for name in set(FULL) - NOT_SHOWN:
        default = getattr(PLAIN, name)
        empty = isinstance(default, str) and name not in ("owner", "queue")
        assert getattr(view, name) == (None if empty or name == "params" else default), name
    assert (view.id, view.name, view.tenant_id, view.status) == ("i", "n", "acme", "queued")
    assert (view.progress, view.updated_at, view.eta) == (0.0, None, None)


def test_a_list_that_is_shown_is_nobody_elses() -> None:
    viewed(PLAIN).tags.append("mine")
    assert viewed(PLAIN).tags == []


def test_a_running_job_tells_how_far_it_is_and_where() -> None:
    job = Job(ID, Status.RUNNING, 5, 1, 1, 7, 1_000, 1_000, 200, 2, attempt=3, failures=1, stops=2)
    trail = Trail(updated_at_ms=2_000, started_at_ms=1_000, worker="w", error="before")
    stored = StoredJob(ID, 1, msgspec.json.encode(PLAIN), job.pack(), trail)
    view = job_view(stored, "acme", Progress(0.5, "half", 3_000, 9_000))
    assert (view.status, view.attempt, view.failures, view.stops) == ("running", 3, 1, 2)
    assert (view.progress, view.progress_details) == (0.5, "half")
    assert (view.locked_by, view.error) == ("w", "before")
    assert (view.started_at, view.updated_at) == (
        "1970-01-01T00:00:01.000Z",
        "1970-01-01T00:00:03.000Z",
    )
    assert (view.eta, view.finished_at) == ("1970-01-01T00:00:09.000Z", None)


def test_a_job_that_has_ended_tells_when_and_how() -> None:
    record = Job(ID, Status.COMPLETED, 5, 1, 1, 7, 1_000, 1_000, 200, 2, attempt=1).pack()
    end = Finished(Status.COMPLETED, 5_000, record, 4_000, "w", "")
    stored = StoredJob(ID, 1, msgspec.json.encode(PLAIN), record, None, end)
    view = job_view(stored, "acme", NO_PROGRESS)
    assert (view.status, view.progress, view.error) == ("completed", 1.0, None)
    assert (view.started_at, view.finished_at) == (
        "1970-01-01T00:00:04.000Z",
        "1970-01-01T00:00:05.000Z",
    )
    assert (view.updated_at, view.locked_by) == (view.finished_at, None)


def test_a_job_that_waits_for_its_next_try_tells_when() -> None:
    spec = msgspec.structs.replace(PLAIN, scheduled_at=FULL["scheduled_at"])
    assert viewed(spec, Status.SCHEDULED, due_ms=7_000).scheduled_at == FULL["scheduled_at"]
    again = viewed(spec, Status.SCHEDULED, due_ms=7_000, attempt=1)
    assert again.scheduled_at == "1970-01-01T00:00:07.000Z"
