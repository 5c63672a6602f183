"""What holds of the rows of any store, by themselves: the invariants of what is on disk."""

from headrace.core.job import TERMINAL
from headrace.store import layout
from headrace.store.contract import KeyValue, walk
from headrace.store.layout import JOB_ID_BYTES, Table


def check_indexes(kv: KeyValue) -> None:
    """I10: live and done partition the jobs, and each index is what the jobs say. I19: seals."""
    rows = {
        table: {key: layout.unseal(table, key, value) for key, value in walk(kv, table)}
        for table in Table
    }
    envelopes = {id_: layout.envelope_unpack(p) for id_, p in rows[Table.SPEC].items()}
    live, done = rows[Table.LIVE], rows[Table.DONE]
    assert not live.keys() & done.keys()
    assert live.keys() | done.keys() == envelopes.keys()
    assert rows[Table.BY_OWNER].keys() == {
        layout.by_owner_key(envelope.owner_id, id_) for id_, envelope in envelopes.items()
    }
    endings = {id_: layout.finished_unpack(payload) for id_, payload in done.items()}
    assert rows[Table.BY_STATUS].keys() == {
        layout.by_status_key(ending.status, id_) for id_, ending in endings.items()
    }
    assert all(ending.status in TERMINAL for ending in endings.values())
    assert rows[Table.BODIES].keys() == {id_ for id_ in done if layout.body_apart(done[id_])}
    assert rows[Table.KEYS] == {
        envelope.key_digest: id_ + envelope.request_digest
        for id_, envelope in envelopes.items()
        if envelope.key_digest
    }
    assert {key[:16] for key in rows[Table.LOGS]} <= envelopes.keys()
    assert rows[Table.CHECKPOINTS].keys() <= envelopes.keys()
    listed = {
        (key[0], key[1:7], payload[at : at + JOB_ID_BYTES])
        for key, payload in rows[Table.BY_FINISHED].items()
        for at in range(0, len(payload), JOB_ID_BYTES)
    }
    for id_, ending in endings.items():
        at_ms = layout.ms_key(ending.finished_at_ms)
        assert (ending.status, at_ms, id_) in listed, f"{id_.hex()} is in no list of ends"
    scheduled = {layout.ANY_OWNER: set(), b"": set()}
    for key in rows[Table.BY_SCHEDULED]:
        owner = key[:4] if key[:4] == layout.ANY_OWNER else b""
        scheduled[owner].add(key[4:])
        if not owner:
            assert int.from_bytes(key[:4], "big") == envelopes[key[-JOB_ID_BYTES:]].owner_id
    assert scheduled[layout.ANY_OWNER] == scheduled[b""]
    assert rows[Table.MODULES].keys() == rows[Table.MODULE_SIZES].keys()
    assert rows[Table.AFTER].keys() <= live.keys()
