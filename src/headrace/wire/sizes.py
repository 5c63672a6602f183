"""Sizes as people write them: a number and a unit, such as `"512MiB"` or `"1.5 GB"`."""

import re
from typing import Final

_SIZE: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]+)")
_UNIT_BYTES: Final[dict[str, int]] = {
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}i": 1024**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
_SHOWN: Final = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def size_bytes(value: float | str) -> int:
    """Return bytes of a text such as `"512MiB"` (1024s), `"512Mi"` or `"512MB"` (1000s), or of 0.

    Other numbers are refused: nobody can see whether they mean bytes or megabytes.

    Raises: ValueError with a sentence that says what is accepted.
    """
    text = str(value).strip()
    if text == "0":
        return 0
    found = _SIZE.fullmatch(text)
    if found is None or (unit := _UNIT_BYTES.get(found[2].lower())) is None:
        raise ValueError('a size is a number and a unit, such as "512MiB", "1.5GB" or "0"')
    return round(float(found[1]) * unit)


def size_text(size: int) -> str:
    """Return a text that `size_bytes` reads as the same."""
    for unit, unit_bytes in _SHOWN:
        if size >= unit_bytes and size % unit_bytes == 0:
            return f"{size // unit_bytes}{unit}"
    return f"{size}B" if size else "0"
