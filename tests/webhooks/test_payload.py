import json

import msgspec
import pytest

from headrace.webhooks.limits import PAYLOAD_BYTES_MAX
from headrace.webhooks.payload import (
    AuthData,
    EmittedData,
    JobData,
    emitted_payload,
    job_payload,
    told_payload,
)
from headrace.wire.events import EVENT_OF_STATUS
from headrace.wire.limits import ERROR_CHARS_MAX, NAME_CHARS_MAX

AT_MS = 1_800_000_000_123


def _job(**fields: object) -> JobData:
    known = {
        "job_id": "j1",
        "name": "n",
        "type": "echo",
        "status": "completed",
        "queue": "default",
        "tenant_id": "t",
        "owner": "o",
        "attempt": 1,
        "created_at": "2027-01-15T08:00:00.000Z",
    }
    return JobData(**{**known, **fields})


def test_a_job_that_completed_tells_its_result() -> None:
    body = job_payload(AT_MS, _job(result=msgspec.Raw(b'{"scenes":3}'), exit_code=0))
    assert json.loads(body) == {
        "type": "job.completed",
        "timestamp": "2027-01-15T08:00:00.123Z",
        "data": {
            "job_id": "j1",
            "name": "n",
            "type": "echo",
            "status": "completed",
            "queue": "default",
            "tenant_id": "t",
            "owner": "o",
            "attempt": 1,
            "created_at": "2027-01-15T08:00:00.000Z",
            "started_at": None,
            "finished_at": None,
            "worker_id": None,
            "exit_code": 0,
            "error": None,
            "code": None,
            "result": {"scenes": 3},
            "omitted": [],
        },
    }


@pytest.mark.parametrize(("status", "name"), EVENT_OF_STATUS.items())
def test_each_status_has_its_event(status: str, name: str) -> None:
    assert json.loads(job_payload(AT_MS, _job(status=status)))["type"] == name


def test_a_result_that_is_too_large_is_left_out_and_said_so() -> None:
    data = json.loads(job_payload(AT_MS, _job(result=msgspec.Raw(b'"%s"' % (b"x" * 20_000)))))
    assert data["data"]["result"] is None
    assert data["data"]["omitted"] == ["result"]


def test_the_largest_job_fits_with_its_error_cut() -> None:
    long = "\x01" * NAME_CHARS_MAX  # six bytes each in JSON
    names = dict.fromkeys(
        ["name", "type", "queue", "tenant_id", "owner", "worker_id", "code"], long
    )
    body = job_payload(AT_MS, _job(**names, error="\x01" * ERROR_CHARS_MAX, status="failed"))
    data = json.loads(body)["data"]
    assert len(body) <= PAYLOAD_BYTES_MAX
    assert data["omitted"] == ["result", "error"]
    assert data["error"] == "\x01" * 1_000


def test_an_emitted_event_carries_what_the_handler_gave() -> None:
    data = EmittedData(job_id="j1", type="scene_preload", details=msgspec.Raw(b'{"path":"res://"}'))
    assert json.loads(emitted_payload("scene.loaded", AT_MS, data)) == {
        "type": "scene.loaded",
        "timestamp": "2027-01-15T08:00:00.123Z",
        "data": {
            "job_id": "j1",
            "type": "scene_preload",
            "details": {"path": "res://"},
            "omitted": [],
        },
    }


def test_an_emitted_event_that_is_too_large_says_so() -> None:
    data = EmittedData(job_id="j1", type=None, details=msgspec.Raw(b"[%s1]" % (b"1," * 10_000)))
    told = json.loads(emitted_payload("scene.loaded", AT_MS, data))["data"]
    assert (told["details"], told["omitted"]) == (None, ["details"])


def test_a_handler_cannot_pose_as_the_server() -> None:
    with pytest.raises(ValueError, match="own"):
        emitted_payload("job.completed", AT_MS, EmittedData(job_id="j1", type=None))


def test_failed_authentication_is_an_event() -> None:
    data = msgspec.json.encode(AuthData(reason="unknown key", remote="::1", count=7))
    told = json.loads(told_payload("auth.failed", AT_MS, data))
    assert told["type"] == "auth.failed"
    assert told["data"] == {
        "reason": "unknown key",
        "remote": "::1",
        "key_id": None,
        "count": 7,
    }
