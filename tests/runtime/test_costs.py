"""What waits for the disk is counted by its payload, whichever way it came."""

import pytest

from headrace.core.commands import (
    Act,
    Caller,
    Command,
    Completions,
    Control,
    Module,
    NewJobs,
    Outcome,
    Poll,
    Progress,
    PutDocument,
    PutModule,
    Report,
    Submit,
    SubmitEach,
)
from headrace.core.resources import Amounts, Requirements
from headrace.runtime.costs import cost_bytes
from headrace.wire.documents import Kind

CALLER = Caller("acme", "alice")
NEW = NewJobs(
    bytes(32),
    [b'{"n":1}', b'{"n":22}'],
    Requirements("default", "echo", Amounts()),
    5,
    3_600_000,
    1_000,
    200,
    2,
)
MODULE = Module(b"k", b"\0asm....")


@pytest.mark.parametrize(
    ("command", "bytes_"),
    [
        (Submit(CALLER, [NEW, NEW], [MODULE]), 2 * 15 + 8),
        (SubmitEach(CALLER, [NEW]), 15),
        (PutModule(MODULE), 8),
        (PutDocument(CALLER, Kind.QUEUE, "q", b"{}"), 2),
        (Poll(1, "w"), 0),
        (Poll(1, "w", reports=[Report("l", Outcome.FAILED, b"123", checkpoint=b"4567")]), 7),
        (Poll(1, "w", reports=[Completions(b"ll", [b"12", b"345"])]), 5),
        (Poll(1, "w", progress=[Progress("l", log=b"12", events=[("e", b"345")])]), 5),
        (Control(CALLER, bytes(16), Act.CANCEL), 0),
    ],
)
def test_a_command_costs_its_payload(command: Command, bytes_: int) -> None:
    assert cost_bytes(command) == bytes_
