"""What a worker has, and what its attempts have reserved of it."""

from typing import Any, Final

import msgspec

from headrace.wire.schema import Resources

MILLI: Final = 1_000
AMOUNTS: Final = ("cpu_milli", "memory_mb", "storage_mb", "gpu_milli")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts in their smallest unit, and the model of the GPUs."""

    cpu_milli: int = 0
    memory_mb: int = 0
    storage_mb: int = 0
    gpu_milli: int = 0
    gpu_model: str | None = None

    def resources(self) -> Resources:
        return Resources(
            cpu_cores=self.cpu_milli / MILLI,
            memory_mb=self.memory_mb,
            storage_mb=self.storage_mb,
            gpu_count=self.gpu_milli / MILLI,
            gpu_type=self.gpu_model,
        )


class Ledger:
    """Counts slots and amounts; an attempt holds both from its grant until nothing of it runs."""

    def __init__(self, total: Offer, slots: int) -> None:
        assert slots > 0
        self.total = total
        self._slots = slots
        self._held: dict[str, tuple[int, int, int, int]] = {}

    def reserve(self, lease: str, requirements: dict[str, Any]) -> None:
        """Cost: O(1). `requirements` as in a job's spec."""
        assert lease not in self._held
        self._held[lease] = (
            round(float(requirements.get("cpu_cores") or 0) * MILLI),
            int(requirements.get("memory_mb") or 0),
            int(requirements.get("storage_mb") or 0),
            round(float(requirements.get("gpu_count") or 0) * MILLI),
        )

    def release(self, lease: str) -> None:
        del self._held[lease]

    @property
    def slots_free(self) -> int:
        return self.slots_free_of(0)

    def slots_free_of(self, more: int) -> int:
        """Return how many slots are free, if there were so many more."""
        return max(0, self._slots + more - len(self._held))

    def free(self) -> Offer:
        """Return what is not reserved; never below 0, should the host have shrunk."""
        sums = [0, 0, 0, 0]
        for amounts in self._held.values():
            for index, amount in enumerate(amounts):
                sums[index] += amount
        free = [
            max(0, getattr(self.total, name) - used)
            for name, used in zip(AMOUNTS, sums, strict=True)
        ]
        return Offer(
            cpu_milli=free[0],
            memory_mb=free[1],
            storage_mb=free[2],
            gpu_milli=free[3],
            gpu_model=self.total.gpu_model,
        )
