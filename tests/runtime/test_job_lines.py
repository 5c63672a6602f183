"""A line for each step of a job, once it is committed, and only if somebody wants it."""

import json
import logging
from pathlib import Path

import pytest

from headrace.core.commands import Act, Caller, Control, NewJobs, Outcome, Poll, Report, Submit
from headrace.core.ids import id_text
from headrace.core.resources import Amounts, Requirements
from headrace.runtime import job_lines
from headrace.runtime.config import Config
from headrace.runtime.logs import JobLogger, logging_to
from headrace.runtime.node import Node

CALLER = Caller("acme", "alice")
CANARY = b"canary"


def new(number: int) -> NewJobs:
    job_id = (1_700_000_000_000).to_bytes(6, "big") + b"\x70\0" + number.to_bytes(8, "big")
    needs = Requirements("default", "echo", Amounts())
    return NewJobs(job_id, [b'{"params":"%s"}' % CANARY], needs, 5, 60_000, 1_000, 200, 0)


async def test_each_step_is_a_line_with_ids_and_no_payload(tmp_path: Path) -> None:
    file = tmp_path / "job.log"
    jobs = [new(number) for number in range(2)]
    done, failed = (id_text(job.job_ids) for job in jobs)
    with logging_to(JobLogger(console_level="error", file=file), "json"):
        node = Node(Config(disk_reserve_mb=0))
        await node.start()
        await node.pump.ask(Submit(CALLER, jobs))
        reply = await node.pump.ask(Poll(1, "w-1", jobs_max=2))
        first, second = (grant.lease for grant in reply.jobs)
        reports = [
            Report(first, Outcome.COMPLETED, body=b'{"result":"%s"}' % CANARY),
            Report(second, Outcome.FAILED, error=CANARY.decode(), permanent=True),
        ]
        await node.pump.ask(Poll(2, "w-1", reports=reports))
        await node.pump.ask(Control(CALLER, jobs[0].job_ids, Act.DELETE))
        await node.stop()
    assert CANARY.decode() not in file.read_text()
    events = [json.loads(line) for line in file.read_text().splitlines()]
    steps = [
        (event["message"], event["job_id"], event.get("attempt"), event.get("worker"))
        for event in events
        if event["logger"] == job_lines.NAME
    ]
    assert steps == [
        ("job submitted", done, None, None),
        ("job submitted", failed, None, None),
        ("job leased", done, 1, "w-1"),
        ("job leased", failed, 1, "w-1"),
        ("job completed", done, 1, "w-1"),
        ("job failed", failed, 1, "w-1"),
        ("job deleted", done, None, None),
    ]


@pytest.mark.parametrize(("level", "hooked"), [(logging.INFO, False), (logging.DEBUG, True)])
async def test_nothing_hangs_on_commits_unless_the_level_is_on(level: int, hooked: bool) -> None:
    job_lines.log.setLevel(level)
    try:
        node = Node(Config(disk_reserve_mb=0))
        await node.start()
        assert (job_lines.log_effects in node.pump.on_effects) is hooked
        await node.stop()
    finally:
        job_lines.log.setLevel(logging.NOTSET)
