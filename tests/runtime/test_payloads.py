"""What a receiver reads, made from a job as it is stored."""

import json
from typing import Any

import pytest

from headrace.core.commands import (
    Act,
    Caller,
    Control,
    NewJobs,
    Outcome,
    Poll,
    Report,
    Submit,
)
from headrace.core.deliveries import Delivery
from headrace.core.ids import id_text
from headrace.core.job import Status
from headrace.core.resources import Amounts, Requirements
from headrace.runtime.config import Config
from headrace.runtime.node import Node
from headrace.runtime.payloads import body_of_delivery

CALLER = Caller("acme", "alice")
JOB = (1_700_000_000_000).to_bytes(6, "big") + b"\x70\0" + (1).to_bytes(8, "big")
SPEC = b'{"id":"x","name":"n","type":"echo","tenant":"acme","owner":"alice","created_at":"then"}'


@pytest.fixture
async def node() -> Any:
    node = Node(Config(disk_reserve_mb=0))
    await node.start()
    requirements = Requirements("default", "echo", Amounts())
    new = NewJobs(JOB, [SPEC], requirements, 5, 60_000, 1_000, 200, 0)
    await node.pump.ask(Submit(CALLER, [new]))
    yield node
    await node.stop()


def delivery(event: str, **fields: Any) -> Delivery:
    return Delivery(1, bytes(16), event, "acme", 1_700_000_000_000, 0, 0, **fields)


def read(node: Node, one: Delivery) -> Any:
    return json.loads(body_of_delivery(node.store, one))


async def test_an_end_is_told_with_the_result(node: Node) -> None:
    reply = await node.pump.ask(Poll(1, "w", jobs_max=1))
    body = b'{"result":[1],"output":"YQ==","exit_code":3}'
    report = Report(reply.jobs[0].lease, Outcome.COMPLETED, body)
    await node.pump.ask(Poll(2, "w", reports=[report]))
    told = read(node, delivery("job.completed", job_id=JOB, status=Status.COMPLETED, attempt=1))
    assert (told["type"], told["timestamp"]) == ("job.completed", "2023-11-14T22:13:20.000Z")
    data = told["data"]
    assert (data["job_id"], data["result"], data["exit_code"]) == (id_text(JOB), [1], 3)
    assert (data["name"], data["type"], data["owner"]) == ("n", "echo", "alice")
    assert (data["worker_id"], data["omitted"]) == ("w", ["output"])
    assert data["finished_at"] is not None


async def test_a_suspension_is_told_of_even_when_the_job_has_gone_on(node: Node) -> None:
    await node.pump.ask(Control(CALLER, JOB, Act.CANCEL))
    told = read(node, delivery("job.suspended", job_id=JOB, status=Status.SUSPENDED, attempt=2))
    assert (told["data"]["status"], told["data"]["attempt"]) == ("suspended", 2)
    assert told["data"]["finished_at"] is None


async def test_of_a_job_that_is_gone_the_facts_are_told(node: Node) -> None:
    one = delivery("job.failed", job_id=bytes(16), status=Status.FAILED, attempt=3)
    data = read(node, one)["data"]
    assert (data["status"], data["attempt"], data["name"]) == ("failed", 3, None)
    assert data["omitted"] == ["job"]


async def test_a_handlers_event_carries_what_it_gave(node: Node) -> None:
    told = read(node, delivery("scene.loaded", job_id=JOB, data=b'{"a":1}'))
    assert told["type"] == "scene.loaded"
    assert told["data"]["details"] == {"a": 1}
    assert told["data"]["type"] == "echo"
    assert read(node, delivery("scene.loaded", job_id=JOB))["data"]["details"] is None


async def test_what_is_of_no_job_was_encoded_before(node: Node) -> None:
    assert read(node, delivery("auth.failed", data=b'{"count":2}'))["data"] == {"count": 2}
