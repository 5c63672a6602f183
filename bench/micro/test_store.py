"""Effects to rows (`stage`, on the loop's thread) and rows to disk (`write`, on the writer's)."""

from collections.abc import Callable
from typing import Any

import pytest
from parts import BATCH, ROUNDS, Parts, Rounds, body

from headrace.bench import http

DEPTH = 10_000
WALL_MS = 1_800_000_000_000


def submitted(parts: Parts) -> list[Any]:
    return parts.apply(parts.submit_command(body(http.submit(BATCH))))[1]


def leased(parts: Parts) -> list[Any]:
    parts.commit(submitted(parts))
    return parts.apply(parts.poll_question(parts.wanting(BATCH)).command)[1]


def finished(parts: Parts) -> list[Any]:
    parts.commit(submitted(parts))
    return parts.apply(parts.poll_question(parts.ending(parts.lease())).command)[1]


KINDS = {"submit": submitted, "lease": leased, "finish": finished}


@pytest.fixture(params=KINDS)
def effects_of(request: pytest.FixtureRequest) -> Callable[[Parts], list[Any]]:
    return KINDS[request.param]


def test_stage_100(parts: Parts, rounds: Rounds, effects_of: Callable[[Parts], list[Any]]) -> None:
    parts.fill(DEPTH)
    staged: list[Any] = []

    def prepare() -> list[Any]:
        while staged:
            write(parts, staged.pop())
        return effects_of(parts)

    rounds(lambda effects: staged.append(stage(parts, effects)), prepare, ROUNDS // 2)


def test_write_100(
    parts_on_disk: Parts, rounds: Rounds, effects_of: Callable[[Parts], list[Any]]
) -> None:
    parts = parts_on_disk
    parts.fill(DEPTH)
    written: list[Any] = []

    def prepare() -> Any:
        while written:
            parts.store.settle(written.pop())
        written.append(stage(parts, effects_of(parts)))
        return written[0]

    rounds(parts.store.write, prepare, ROUNDS // 2)


def stage(parts: Parts, effects: list[Any]) -> Any:
    batch = parts.store.stage(effects, WALL_MS)
    parts.engine.staged()
    return batch


def write(parts: Parts, batch: Any) -> None:
    parts.store.write(batch)
    parts.store.settle(batch)
