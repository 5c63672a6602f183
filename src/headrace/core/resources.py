"""Amounts, requirements and offers: what a job needs and what a worker has.

Amounts are integers in the smallest unit, so that matching holds no float; floats exist at the
wire only.
"""

from typing import Final

import msgspec

WASM_KIND: Final = ""
"""The kind of a WASM job; typed jobs have their type's name, which is never empty."""


class Amounts(msgspec.Struct, frozen=True, gc=False):
    """A vector of resources. Each 0 or more."""

    cpu_milli: int = 0
    memory_mb: int = 0
    storage_mb: int = 0
    gpu_milli: int = 0

    def vector(self) -> tuple[int, int, int, int]:
        return (self.cpu_milli, self.memory_mb, self.storage_mb, self.gpu_milli)

    def fits(self, free: "Amounts") -> bool:
        return (
            self.cpu_milli <= free.cpu_milli
            and self.memory_mb <= free.memory_mb
            and self.storage_mb <= free.storage_mb
            and self.gpu_milli <= free.gpu_milli
        )


DIMENSIONS: Final = ("cpu_milli", "memory_mb", "storage_mb", "gpu_milli")


class Requirements(msgspec.Struct, frozen=True):
    """What a job asks of its worker: a class of jobs that are equal to the matcher.

    Persisted: one row per class that has live jobs.
    """

    queue: str
    kind: str
    """`WASM_KIND` or the job type's name."""
    amounts: Amounts
    gpu_models: frozenset[str] = frozenset()
    """Alternatives; empty for any."""
    labels: frozenset[str] = frozenset()
    """`key=value`; each must be among the worker's."""
    tenant: str = ""
    """Whose job it is: workers of other tenants do not get it. Empty: of the default tenant,
    submitted without a key, for workers of all tenants only."""
    limited_tags: frozenset[str] = frozenset()
    """Of its tags, those that had a limit when it was submitted."""


class Profile(msgspec.Struct, frozen=True):
    """What does not change about a worker from poll to poll. In memory only."""

    types: frozenset[str] | None = None
    """Job types served; None: every type."""
    wasm: bool = False
    """Runs WASM jobs."""
    queues: frozenset[str] | None = None
    """None: every queue."""
    gpu_model: str = ""
    labels: frozenset[str] = frozenset()
    tenant: str = ""
    """Takes jobs of this tenant only; empty: of all."""


class WorkerShape(msgspec.Struct, frozen=True):
    """Workers that there may be, such as those of an autoscaler's pool."""

    name: str
    profile: Profile
    total: Amounts


_WIRE_WORDS: Final = {"cpu_milli": ("cpu_cores", 1000), "gpu_milli": ("gpu_count", 1000)}


def amount_told(dimension: str, amount: int) -> tuple[str, float]:
    """Return an amount in the word and unit of the wire."""
    word, unit = _WIRE_WORDS.get(dimension, (dimension, 1))
    return word, amount / unit if unit > 1 else amount


def amount_text(dimension: str, amount: int) -> str:
    """Return the same as text: `2.5 cpu_cores`, `512 memory_mb`."""
    word, unit = _WIRE_WORDS.get(dimension, (dimension, 1))
    return f"{amount / unit:g} {word}" if unit > 1 else f"{amount} {word}"
