"""An engine whose invariants are checked when the test is over."""

from collections.abc import Iterator

import pytest
from engine_rig import MakeRig, Rig

from headrace.core.invariants import check
from headrace.core.live import EngineConfig


@pytest.fixture
def make_rig() -> Iterator[MakeRig]:
    rigs: list[Rig] = []

    def make(config: EngineConfig | None = None) -> Rig:
        rigs.append(Rig(config))
        return rigs[-1]

    yield make
    for rig in rigs:
        check(rig.engine)


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig()
