"""Rows of EXPIRIES: when finished jobs are over that said themselves how long they are kept."""

from collections.abc import Callable
from contextlib import suppress

import msgspec

from headrace.core.expiring import Expired, expires_ms
from headrace.store import layout
from headrace.store.contract import KeyValue, RecordCorrupt, after
from headrace.store.layout import NewRows

ReadRow = Callable[[int, bytes], bytes | None]
"""Returns a payload by table and key, staged or committed. Raises: `RecordCorrupt`."""


def over(
    kv: KeyValue,
    read: ReadRow,
    is_staged: Callable[[bytes], bool],
    after_key: bytes,
    until_ms: int,
    limit: int,
) -> tuple[list[Expired], bytes | None]:
    """Return committed rows behind a key, of jobs that are over by then, and where to go on.

    Those of jobs whose end `is_staged` to change are left out, as are those whose end is damaged.
    """
    start, stop = after(after_key), layout.expiry_key(until_ms + 1, b"")
    rows = kv.scan(layout.EXPIRIES, start, stop, limit=limit)
    found = []
    for key, _ in rows:
        at_ms, job_id = layout.expiry_parse(key)
        if not is_staged(job_id):
            with suppress(RecordCorrupt, msgspec.MsgspecError):
                found.append(Expired(job_id, at_ms, record_of(read, job_id, at_ms)))
    return found, rows[-1][0] if len(rows) == limit else None


def record_of(read: ReadRow, job_id: bytes, at_ms: int) -> bytes:
    """Return the record of a job if it is over at this very time, as far as can be read."""
    done = read(layout.DONE, job_id)
    if done is None:
        return b""
    finished_at_ms, record = layout.ended_unpack(done)
    with suppress(RecordCorrupt, msgspec.MsgspecError):
        if _over_ms(read, job_id, finished_at_ms) != at_ms:
            return b""
    return record


def drop(rows: NewRows, read: ReadRow, job_id: bytes, finished_at_ms: int) -> None:
    """Take away the row of an end. Of a job whose spec cannot be read it stays until its time has
    come, and is nobody's then."""
    with suppress(RecordCorrupt, msgspec.MsgspecError):
        at_ms = _over_ms(read, job_id, finished_at_ms)
        if at_ms is not None:
            rows.set(layout.EXPIRIES, layout.expiry_key(at_ms, job_id), None)


def _over_ms(read: ReadRow, job_id: bytes, finished_at_ms: int) -> int | None:
    envelope = read(layout.SPEC, job_id)
    if envelope is None:
        return None
    spec = layout.envelope_unpack(envelope).spec
    return expires_ms(finished_at_ms, layout.spec_retention(spec))
