"""A server whose deadlines are the milliseconds in PATIENCE_MS; so long that they are off, in a
control."""

import os
from typing import Any, Final

from headrace.cli import main
from headrace.http import deadlines, serving
from headrace.wire import limits

BYTES_PER_S: Final = 10 << 20


def hurry(ms: int) -> None:
    """Have all deadlines of connections be as long, and expect more of them."""
    limits.BODY_MS_BASE = ms  # type: ignore[misc]
    limits.BODY_BYTES_PER_S_MIN = BYTES_PER_S  # type: ignore[misc]
    limits.UNREAD_MS_BASE = ms  # type: ignore[misc]
    deadlines.LINGER_S = ms / 1_000  # type: ignore[misc]
    deadlines.CLOSING_S = ms / 1_000  # type: ignore[misc]
    runner = serving.Runner

    def hasty(*args: Any, **options: Any) -> Any:
        return runner(*args, header_ms=ms, idle_ms=ms, **options)

    serving.Runner = hasty  # type: ignore[assignment, misc]


if __name__ == "__main__":
    if ms := os.environ.get("PATIENCE_MS"):
        hurry(int(ms))
    main()
