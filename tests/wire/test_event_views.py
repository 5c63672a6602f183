"""What server-sent events say."""

import json

import msgspec

from headrace.wire.event_views import EVENT_FILTERS, EVENT_PARAMS, EventView, LogView


def test_an_event_says_only_what_it_has_to_say() -> None:
    view = EventView(job_id="j", status="queued", attempt=0, progress=0.0)
    assert json.loads(msgspec.json.encode(view)) == {
        "job_id": "j",
        "status": "queued",
        "attempt": 0,
        "progress": 0.0,
    }
    assert msgspec.json.encode(LogView()) == b"{}"


def test_each_parameter_has_one_meaning() -> None:
    names = [(param.name, param.place) for param in (*EVENT_PARAMS, *EVENT_FILTERS)]
    assert len(set(names)) == len(names)
