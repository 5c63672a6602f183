"""Worker shapes as operators write them: what an autoscaler could start.

    worker_shapes:
      small: cpu_cores=4; memory=16GiB
      gpu: cpu_cores=16; memory=64GiB; gpu_count=1; gpu_type=A100; label.zone=a; queues=video|audio

What is not said is 0, any type, any queue, and WASM (`wasm=no` for none).
"""

import math
from typing import Final

from headrace.core.resources import Amounts, Profile, WorkerShape
from headrace.runtime.settings import hint, shown_value
from headrace.wire import limits
from headrace.wire.limits import MIB
from headrace.wire.sizes import size_bytes

SHAPES_MAX: Final = 100
"""Each is compared with the requirements of new jobs."""
LABEL: Final = "label."
WORDS: Final = (
    *("cpu_cores", "memory", "storage", "gpu_count", "gpu_type"),
    *("types", "queues", "wasm", "tenant"),
)


def read_shapes(texts: dict[str, str]) -> list[WorkerShape]:
    """Raises: ValueError that names the shape."""
    if len(texts) > SHAPES_MAX:
        raise ValueError(f"at most {SHAPES_MAX} shapes")
    shapes = []
    for name, text in texts.items():
        try:
            shapes.append(read_shape(name, text))
        except ValueError as error:
            raise ValueError(f"{shown_value(name)}: {error}") from None
    return shapes


def read_shape(name: str, text: str) -> WorkerShape:
    """Raises: ValueError."""
    said: dict[str, str] = {}
    labels: set[str] = set()
    for part in text.split(";"):
        word, separator, value = (each.strip() for each in part.partition("="))
        if not part.strip():
            continue
        if not separator or not value:
            raise ValueError(f"it takes NAME=VALUE between semicolons, not {shown_value(part)}")
        if word.startswith(LABEL) and word != LABEL:
            labels.add(f"{word.removeprefix(LABEL)}={value}")
        elif word in said or word not in WORDS:
            again = " twice" if word in said else hint(word, list(WORDS))
            raise ValueError(f"there is no {shown_value(word)}{again}")
        else:
            said[word] = value
    return WorkerShape(
        name,
        Profile(
            types=_names(said.get("types")),
            wasm=_flag(said.get("wasm", "yes")),
            queues=_names(said.get("queues")),
            gpu_model=said.get("gpu_type", ""),
            labels=frozenset(labels),
            tenant=said.get("tenant", ""),
        ),
        Amounts(
            _milli(said, "cpu_cores", limits.CPU_MILLI_MAX),
            _megabytes(said, "memory", limits.MEMORY_MB_MAX),
            _megabytes(said, "storage", limits.STORAGE_MB_MAX),
            _milli(said, "gpu_count", limits.GPU_MILLI_MAX),
        ),
    )


def _names(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    return frozenset(name.strip() for name in text.split("|") if name.strip())


def _flag(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("wasm is yes or no")
    return text == "yes"


def _milli(said: dict[str, str], word: str, most: int) -> int:
    try:
        value = float(said.get(word, "0"))
    except ValueError:
        value = math.nan
    if not 0 <= value * 1000 <= most:
        raise ValueError(f"{word} is a number, at most {most // 1000}")
    return math.floor(value * 1000)


def _megabytes(said: dict[str, str], word: str, most: int) -> int:
    value = size_bytes(said.get(word, "0")) // MIB
    if value > most:
        raise ValueError(f"{word} is too much")
    return value
