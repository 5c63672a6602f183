"""Commands to effects, a hundred jobs each, ten thousand beside them."""

from typing import Any

import pytest
from parts import BATCH, ROUNDS, Parts, Rounds, body

from headrace.bench import http
from headrace.core.commands import Caller

DEPTH = 10_000
TENANTS = 1_000


class Steps:
    """What was done in the last round is committed before the next."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.effects: list[Any] = []

    def work(self, command: Any) -> None:
        self.effects = self.parts.apply(command)[1]

    def settled(self) -> Parts:
        self.parts.commit(self.effects)
        self.effects = []
        return self.parts


@pytest.fixture
def steps(parts: Parts) -> Steps:
    parts.fill(DEPTH)
    return Steps(parts)


def test_submit_of_100(steps: Steps, rounds: Rounds) -> None:
    many = body(http.submit(BATCH))
    rounds(steps.work, lambda: steps.settled().submit_command(many))


def in_turn(steps: Steps) -> None:
    """Have the same jobs wait, of a thousand tenants."""
    parts = steps.parts
    while parts.lease(1_000):
        pass
    for number in range(TENANTS):
        parts.caller = Caller(f"t{number}")
        parts.do(parts.submit_command(body(http.submit(DEPTH // TENANTS))))


def test_submit_of_100_beside_a_thousand_tenants(steps: Steps, rounds: Rounds) -> None:
    many = body(http.submit(BATCH))
    in_turn(steps)
    rounds(steps.work, lambda: steps.settled().submit_command(many))


def test_lease_of_100_of_a_thousand_tenants(steps: Steps, rounds: Rounds) -> None:
    def prepare() -> Any:
        parts = steps.settled()
        parts.do(parts.submit_command(body(http.submit(BATCH))))
        return parts.poll_question(parts.wanting(BATCH)).command

    in_turn(steps)
    rounds(steps.work, prepare, ROUNDS // 2)


def test_submit_of_one(steps: Steps, rounds: Rounds) -> None:
    one = body(http.submit())
    rounds(steps.work, lambda: steps.settled().submit_command(one))


def test_lease_of_100(steps: Steps, rounds: Rounds) -> None:
    def prepare() -> Any:
        parts = steps.settled()
        parts.do(parts.submit_command(body(http.submit(BATCH))))
        return parts.poll_question(parts.wanting(BATCH)).command

    rounds(steps.work, prepare, ROUNDS // 2)


def test_finish_of_100(steps: Steps, rounds: Rounds) -> None:
    def prepare() -> Any:
        parts = steps.settled()
        parts.do(parts.submit_command(body(http.submit(BATCH))))
        return parts.poll_question(parts.ending(parts.lease())).command

    rounds(steps.work, prepare, ROUNDS // 2)
