"""`headrace workers` and `headrace demand`, against a real server and a worker by hand."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.sdk import Client

from .processes import Command, Process

pytestmark = pytest.mark.e2e


@pytest.fixture
def server_url() -> Iterator[str]:
    """Of a server that no other worker knows."""
    server = Process("serve", "--memory", "--port", "0", "--log-level", "warning")
    yield server.match(r"http://[\d.:]+")[0]
    assert server.stop() == 0


@pytest.fixture
def headrace(server_url: str) -> Command:
    return Command(server_url)


def test_workers_are_shown_drained_and_ended(headrace: Any, server_url: str) -> None:
    with Client(server_url) as client:
        poll = {"worker": "by-hand", "serve": {"types": ["hand"]}, "free": {"cpu_cores": 2}}
        client.call("POST", "/api/v1/work/poll", poll)
    assert "by-hand" in headrace("workers").stdout
    drained = headrace("workers", "drain", "by-hand", "--wait")
    assert "drained" in drained.stdout
    assert "active" in headrace("workers", "undrain", "by-hand").stdout
    told = json.loads(headrace("workers", "quit", "by-hand", "--json").stdout)
    assert told[0]["order"] == "quit"
    shown = json.loads(headrace("workers", "show", "by-hand", "--json").stdout)
    assert shown["leases"] == []
    assert headrace("workers", "drain", "nobody").returncode == 3


def test_demand_says_what_waits_for_workers(headrace: Any) -> None:
    job_id = headrace("submit", "huge", "--memory-mb", "4000000", "--queue", "vast").stdout.strip()
    shown = headrace("demand", "--queue", "vast")
    assert "4,000,000 MB" in shown.stdout
    assert "unknown" in shown.stdout
    found = json.loads(headrace("demand", "--queue", "vast", "--json").stdout)
    assert found["classes"][0]["ready"] == 1
    headrace("cancel", job_id)
