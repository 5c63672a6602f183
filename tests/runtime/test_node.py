"""A node: opened, closed, opened again."""

import asyncio
from pathlib import Path

import pytest

from headrace.core.commands import Caller, NewJobs, Outcome, Poll, Report, Submit
from headrace.core.job import Status
from headrace.core.resources import Amounts, Requirements
from headrace.runtime.config import Config, ConfigError
from headrace.runtime.node import Node
from headrace.store.contract import StoreBusy

CALLER = Caller("acme", "alice")


def new(number: int) -> NewJobs:
    job_id = (1_700_000_000_000).to_bytes(6, "big") + b"\x70\0" + number.to_bytes(8, "big")
    return NewJobs(
        job_id, [b"{}"], Requirements("default", "echo", Amounts()), 5, 60_000, 1_000, 200, 2
    )


def config(path: Path) -> Config:
    return Config(data_dir=path, accept_any_filesystem=True, disk_reserve_mb=0)


async def test_what_was_taken_is_there_after_a_restart(tmp_path: Path) -> None:
    node = Node(config(tmp_path))
    await node.start()
    jobs = [new(number) for number in range(3)]
    await node.pump.ask(Submit(CALLER, jobs))
    reply = await node.pump.ask(Poll(1, "w", jobs_max=2))
    first, second = (grant.lease for grant in reply.jobs)
    await node.pump.ask(Poll(2, "w", reports=[Report(first, Outcome.COMPLETED)]))
    await node.stop()

    node = Node(config(tmp_path))
    await node.start()
    stats = node.pump.stats()
    assert (stats.jobs, stats.leases) == (2, 1)
    reply = await node.pump.ask(
        Poll(1, "w", reports=[Report(second, Outcome.COMPLETED)], jobs_max=9)
    )
    assert reply.acks[0].status is Status.COMPLETED
    assert [grant.job_id for grant in reply.jobs] == [jobs[2].job_ids]
    await node.stop()


async def test_a_node_can_be_stopped_before_anything_was_asked(tmp_path: Path) -> None:
    node = Node(config(tmp_path))
    await node.start()
    await node.stop()


async def test_one_directory_has_one_node(tmp_path: Path) -> None:
    node = Node(config(tmp_path))
    await node.start()
    with pytest.raises(StoreBusy):
        Node(config(tmp_path))
    await node.stop()


async def test_nodes_in_one_process_share_nothing() -> None:
    nodes = [Node(Config()), Node(Config())]
    for node in nodes:
        await node.start()
    await nodes[0].pump.ask(Submit(CALLER, [new(1)]))
    assert [node.pump.stats().jobs for node in nodes] == [1, 0]
    await asyncio.gather(*(node.stop() for node in nodes))


def test_a_configuration_that_cannot_be_served_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with pytest.raises(ConfigError):
        Node(Config(data_dir=path, host="0.0.0.0"))
    assert not path.exists()
