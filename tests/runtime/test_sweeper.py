"""When finished jobs are looked for whose time is over."""

import asyncio
from typing import Any

import pytest

from headrace.core.commands import Sweep, Swept
from headrace.runtime import sweeper
from headrace.runtime.sweeper import Sweeper
from headrace.wire.problems import Problem, ProblemCode


class Pump:
    """Answers what it is told to."""

    def __init__(self, *replies: Swept | Problem) -> None:
        self.failed = False
        self.asked: list[Sweep] = []
        self.replies = list(replies)

    async def ask(self, command: Sweep) -> Swept:
        self.asked.append(command)
        reply = self.replies.pop(0) if self.replies else Swept(0, None)
        if isinstance(reply, Problem):
            raise reply
        return reply


async def test_a_sweep_is_asked_for_part_by_part() -> None:
    pump: Any = Pump(Swept(2, b"a"), Swept(0, b"b"), Swept(3, None))
    assert await Sweeper(pump, 1_000).sweep() == 5
    assert [command.after_id for command in pump.asked] == [b"", b"a", b"b"]


async def test_a_refusal_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "AGAIN_S", 0.001)
    pump: Any = Pump(Swept(1, b"a"), Problem(ProblemCode.OVERLOADED, "busy"), Swept(1, None))
    assert await Sweeper(pump, 1_000).sweep() == 2
    assert [command.after_id for command in pump.asked] == [b"", b"a", b"a"]


async def test_sweeps_come_again_until_they_are_stopped() -> None:
    pump: Any = Pump()
    sweeps = Sweeper(pump, 1)
    sweeps.start()
    async with asyncio.timeout(5):
        while len(pump.asked) < 3:
            await asyncio.sleep(0.001)
    sweeps.stop()
    await asyncio.sleep(0.01)
    asked = len(pump.asked)
    await asyncio.sleep(0.02)
    assert len(pump.asked) == asked


async def test_a_failed_server_is_not_swept() -> None:
    pump: Any = Pump()
    pump.failed = True
    assert await Sweeper(pump, 1_000).sweep() == 0
    assert pump.asked == []
