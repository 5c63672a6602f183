"""Views of jobs: what a spec says and what it leaves out, and where the job stands."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.effects import Finished, Trail
from headrace.core.job import TERMINAL, Job, Status
from headrace.http.views import NO_PROGRESS, Progress, job_texts, job_view
from headrace.store import layout
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
TEXTS = st.text(max_size=12) | st.sampled_from(["", 'a "b"', "\\", "\x7f", "é", "plain text"])
SPECS = st.builds(
    lambda asked, name: Spec(id="i", name=name, **{key: FULL[key] for key in asked}),
    st.sets(st.sampled_from(sorted(FULL))),
    TEXTS,
)
INSTANTS = st.integers(0, 253_402_300_799_999)
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
    stored = StoredJob(ID, 1, msgspec.json.encode(PLAIN), layout.live_pack(job.pack(), trail))
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
    stored = StoredJob(ID, 1, msgspec.json.encode(PLAIN), None, layout.finished_pack(end)[0])
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


# As text ----------------------------------------------------------------------------------------


def texts_are_alike(stored: StoredJob, told: Progress = NO_PROGRESS, tenant: str = "acme") -> None:
    view = msgspec.json.encode(job_view(stored, tenant, told))
    assert job_texts([stored], tenant, [told]) == [view]


@given(
    SPECS,
    st.sampled_from(sorted(set(Status) - TERMINAL)),
    st.integers(0, 3),
    st.builds(Trail, INSTANTS, INSTANTS, TEXTS, st.just("s"), st.just(1), TEXTS, st.just("")),
    TEXTS,
)
def test_a_live_job_is_written_as_its_view(
    spec: Spec, status: Status, attempt: int, trail: Trail, tenant: str
) -> None:
    job = Job(ID, status, 5, 1, 1, 7, 1_000, 1_000, 200, 2, attempt=attempt, due_ms=9, crashes=3)
    live = layout.live_pack(job.pack(), trail)
    texts_are_alike(StoredJob(ID, 1, msgspec.json.encode(spec), live), tenant=tenant)


@given(SPECS, st.sampled_from(sorted(TERMINAL)), INSTANTS, INSTANTS, TEXTS, TEXTS)
def test_a_job_that_has_ended_is_written_as_its_view(
    spec: Spec, status: Status, at_ms: int, started_at_ms: int, worker: str, error: str
) -> None:
    job = Job(ID, status, 5, 1, 1, 7, 1_000, 1_000, 200, 2, attempt=2, failures=1, stops=4)
    end = Finished(status, at_ms, job.pack(), started_at_ms, worker, error, "code", b"body")
    done, _ = layout.finished_pack(end)
    texts_are_alike(StoredJob(ID, 1, msgspec.json.encode(spec), None, done))


@pytest.mark.parametrize(
    "spec",
    [
        b'{"id":"i","name":"n","later":1}',
        b'{"id":"i","name":"n","status":"x","tenant_id":"y"}',
        b'{"id": "i","name":  "n"}',
        b'{"id":"i", "name":"n"}',
        b' {"id":"i","name":"n"}',
        b'{"id":"i","name":"n","params":[1,  2]}',
        b'{"id":"i","name":"n","params":' + b"[" * 80 + b"]" * 80 + b"}",
        b'{"id":"i","name":"\\u00e9"}',
        b'{"\\u0069d":"i","name":"n"}',
        b'{"id":"i","name":"n"}\n',
    ],
)
def test_a_spec_that_was_not_written_by_us_says_the_same(spec: bytes) -> None:
    job = Job(ID, Status.QUEUED, 5, 1, 1, 7, 1_000, 1_000, 200, 2)
    stored = StoredJob(ID, 1, spec, job.pack())
    view = msgspec.json.encode(job_view(stored, "acme", NO_PROGRESS))
    [text] = job_texts([stored], "acme", [NO_PROGRESS])
    assert list(msgspec.json.decode(text).items()) == list(msgspec.json.decode(view).items())


def test_progress_is_written_as_in_the_view() -> None:
    job = Job(ID, Status.RUNNING, 5, 1, 1, 7, 1_000, 1_000, 200, 2, attempt=1)
    stored = StoredJob(ID, 1, msgspec.json.encode(PLAIN), job.pack())
    texts_are_alike(stored, Progress(1 / 3, "a third", 3_000, 9_000))


@pytest.mark.parametrize("spec", [b"", b"[]", b'{"name":"n"}', b'{"id":"i"', b'{"id":}', b"{}"])
def test_a_spec_that_is_none_is_told(spec: bytes) -> None:
    job = Job(ID, Status.QUEUED, 5, 1, 1, 7, 1_000, 1_000, 200, 2)
    with pytest.raises(msgspec.MsgspecError):
        job_texts([StoredJob(ID, 1, spec, job.pack())], "acme", [NO_PROGRESS])


def test_jobs_are_written_each_by_itself() -> None:
    jobs = [viewless(name) for name in ("a", "é", "b" * 5_000, "c")]
    texts = job_texts(jobs, "acme", [NO_PROGRESS] * len(jobs))
    assert [msgspec.json.decode(text)["name"] for text in texts] == ["a", "é", "b" * 5_000, "c"]
    assert job_texts([], "acme", []) == []


def viewless(name: str) -> StoredJob:
    job = Job(ID, Status.QUEUED, 5, 1, 1, 7, 1_000, 1_000, 200, 2)
    return StoredJob(ID, 1, msgspec.json.encode(Spec(id="i", name=name)), job.pack())
