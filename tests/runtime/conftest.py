"""Houses for the tests of the pump, over either kind of rows."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from house import House, MakeHouse

from headrace.core.live import EngineConfig
from headrace.runtime import pump as pump_module
from headrace.store.contract import KeyValue
from headrace.store.lmdb import LmdbKeyValue
from headrace.store.memory import MemoryKeyValue


@pytest.fixture(params=["memory", "lmdb"])
def kv(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValue]:
    kv: KeyValue
    if request.param == "memory":
        kv = MemoryKeyValue()
    else:
        kv = LmdbKeyValue(tmp_path / "store", accept_any_filesystem=True)
    yield kv
    kv.close()


@pytest.fixture
async def make_house(kv: KeyValue, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeHouse]:
    monkeypatch.setattr(pump_module, "BEATS_PER_STALL", 100)
    monkeypatch.setattr(pump_module, "FULL_RETRY_S", 0.01)
    houses: list[House] = []

    async def make(config: EngineConfig | None = None) -> House:
        house = House(kv, config or EngineConfig())
        house.pump.start(house.effects)
        houses.append(house)
        return house

    yield make
    for house in houses:
        house.gate.open.set()
        await house.pump.stop()


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    return await make_house()
