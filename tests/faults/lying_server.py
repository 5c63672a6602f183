"""A server with a defect, named in the environment: the control of the crash campaign.

A checker that finds nothing proves nothing until it has found these.

    DEFECT=ack-before-commit python tests/faults/lying_server.py serve --data DIR …

ack-before-commit     answers leave before the write
stale-lease           a report counts though a later attempt has begun
keys-forgotten        an idempotency key holds until its commit only
no-sync               the disk is told to write, and not waited for
errors-ignored        a write that fails counts as written
full-ignored          a write that finds no space counts as written
full-ends             a disk without space ends the process, and refuses what ends jobs with it
leases-by-wall        the engine's clock is the wall's
limits-ignored        limits and quotas are kept, and not acted on
bytes-ignored         quotas of bytes are kept, and not acted on
rates-full-after-a-start      a rate has all its starts again after a start
leases-forgotten-at-a-start   leases from before a start count at no limit
"""

import os
import time
from contextlib import suppress
from typing import Any, Final

import lmdb
import msgspec

from headrace.cli import main
from headrace.core import reporting
from headrace.core.classes import ClassTable
from headrace.core.commands import Ack, Report
from headrace.core.effects import Effect
from headrace.core.gates import GateTable
from headrace.core.live import Live
from headrace.core.tokens import token_parse
from headrace.runtime.clock import Clock
from headrace.runtime.pump import Pump
from headrace.store import lmdb as rows_lmdb
from headrace.store import pylmdb
from headrace.store.contract import StoreBroken, StoreError, StoreFull
from headrace.store.store import Store

WRITE_DELAY_S: Final = float(os.environ.get("WRITE_DELAY_S", "0.03"))
"""Widens the moment between answer and commit, so that few kills suffice."""

_commit = Pump._commit
_write = Store.write
_report = reporting.report
_open = lmdb.open
_write_rows = rows_lmdb.LmdbKeyValue.write
_restore_lease = Live.restore_lease


def commit_eagerly(self: Pump, now_ms: int) -> None:
    _commit(self, now_ms)
    if self._in_flight is not None:
        batch, applied, effects = self._in_flight
        self._in_flight = (batch, [], effects)
        self._release(applied, [])


def write_late(self: Store, *args: Any, **kwargs: Any) -> None:
    time.sleep(WRITE_DELAY_S)
    _write(self, *args, **kwargs)


def report_for_whoever_asks(
    live: Live, now_ms: int, told: Report, effects: list[Effect], *more: Any
) -> Ack:
    token = token_parse(live.tokens, told.lease)
    handle = -1 if token is None else live.jobs.find(token.job_id)
    current = live.leases.of(handle)
    if current is None:
        return _report(live, now_ms, told, effects, *more)
    token = live.leases.token(current)
    ack = _report(live, now_ms, msgspec.structs.replace(told, lease=token), effects, *more)
    return msgspec.structs.replace(ack, lease=told.lease)


def open_without_sync(path: str, **options: Any) -> Any:
    return _open(path, **{**options, "sync": False, "metasync": False})


def write_and_hope(self: rows_lmdb.LmdbKeyValue, changes: Any) -> None:
    with suppress(StoreError):
        _write_rows(self, changes)


def write_or_forget(self: rows_lmdb.LmdbKeyValue, changes: Any) -> None:
    with suppress(StoreFull):
        _write_rows(self, changes)


def write_or_end(self: rows_lmdb.LmdbKeyValue, changes: Any) -> None:
    try:
        _write_rows(self, changes)
    except StoreFull as error:
        raise StoreBroken(str(error)) from error


def key_of_this_batch(self: Live, digest: bytes) -> tuple[bytes, bytes] | None:
    return self.fresh_keys.get(digest)


def restore_outside(self: Live, now_ms: int, handle: int, job: Any, entry: Any, *more: Any) -> None:
    """Restore a lease under a class without gates, which nothing else is of."""
    _restore_lease(self, now_ms, handle, job, entry, *more)
    if entry.gates:
        entry.gates = ()
        self.match.class_gates_set(entry.number, frozenset())


def lie(defect: str) -> None:
    if defect == "ack-before-commit":
        Pump._commit = commit_eagerly  # type: ignore[method-assign]
        Store.write = write_late  # type: ignore[method-assign]
    elif defect == "stale-lease":
        reporting.report = report_for_whoever_asks
    elif defect == "keys-forgotten":
        Live.key = key_of_this_batch  # type: ignore[method-assign]
    elif defect == "no-sync":
        rows_lmdb._environment = lambda: pylmdb.Environment
        lmdb.open = open_without_sync
    elif defect == "errors-ignored":
        rows_lmdb.LmdbKeyValue.write = write_and_hope  # type: ignore[method-assign]
    elif defect == "full-ignored":
        rows_lmdb.LmdbKeyValue.write = write_or_forget  # type: ignore[method-assign]
    elif defect == "full-ends":
        rows_lmdb.LmdbKeyValue.write = write_or_end  # type: ignore[method-assign]
    elif defect == "leases-by-wall":
        Clock.now_ms = Clock.wall_ms  # type: ignore[method-assign]
    elif defect == "limits-ignored":
        ClassTable.limit_set = lambda *_: None  # type: ignore[method-assign]
    elif defect == "bytes-ignored":
        ClassTable.tenant_bytes = lambda *_: 0  # type: ignore[method-assign]
    elif defect == "rates-full-after-a-start":
        GateTable.begin = lambda *_: None  # type: ignore[method-assign]
    elif defect == "leases-forgotten-at-a-start":
        Live.restore_lease = restore_outside  # type: ignore[method-assign]
    else:
        raise SystemExit(f"there is no defect {defect!r}")


if __name__ == "__main__":
    lie(os.environ["DEFECT"])
    main()
