"""A server with the defect of acknowledging before the commit: the control of the crash test.

A checker that finds nothing proves nothing until it has found this.

    python tests/faults/eager_server.py serve --data DIR …
"""

import os
import sys
import time
from typing import Any, Final

from headrace.cli import main
from headrace.runtime.pump import Pump
from headrace.store.store import Store

WRITE_DELAY_S: Final = float(os.environ.get("EAGER_WRITE_DELAY_S", "0.03"))
"""Widens the moment between answer and commit, so that few kills suffice."""

_commit = Pump._commit
_write = Store.write


def commit_eagerly(self: Pump, now_ms: int) -> None:
    _commit(self, now_ms)
    if self._in_flight is not None:
        batch, applied, effects = self._in_flight
        self._in_flight = (batch, [], effects)
        self._release(applied, [])


def write_late(self: Store, *args: Any, **kwargs: Any) -> None:
    time.sleep(WRITE_DELAY_S)
    _write(self, *args, **kwargs)


Pump._commit = commit_eagerly  # type: ignore[method-assign]
Store.write = write_late  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
