"""Rows that are unsealed by the many are those of each by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.store._rows import (
    keys_behind,
    may_be,
    may_match,
    unseal_jobs,
    unseal_records,
    unseal_specs,
)
from headrace.store._seals import seal
from headrace.store.contract import RecordCorrupt, StoreDamaged, StoredJob, pack_rows

KEY_BYTES, RECORD_BYTES = 4, 6
rows = st.dictionaries(
    st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES),
    st.binary(min_size=RECORD_BYTES, max_size=RECORD_BYTES + 4),
)


@given(rows, st.sets(st.integers(0, 20)))
def test_page_of_records_is_joined_without_its_corrupt_rows(
    payloads: dict[bytes, bytes], spoilt: set[int]
) -> None:
    page, joined, trails, corrupt = [], b"", {}, []
    for number, (key, payload) in enumerate(sorted(payloads.items())):
        value = seal(3, key, payload)
        if number in spoilt:
            page.append((key, value[:-1] + bytes([value[-1] ^ 1])))
            corrupt.append(key)
            continue
        page.append((key, value))
        joined += key + payload[:RECORD_BYTES]
        if trail := payload[RECORD_BYTES:]:
            trails[key] = trail
    told = unseal_records(3, pack_rows(page), b"", KEY_BYTES, RECORD_BYTES)
    assert told == (joined, trails, corrupt, page[-1][0] if page else b"", len(page))


@pytest.mark.parametrize(("key", "payload"), [(b"key", b"record"), (b"key1", b"recor")])
def test_row_of_another_shape_counts_as_corrupt(key: bytes, payload: bytes) -> None:
    packed = pack_rows([(key, seal(3, key, payload))])
    assert unseal_records(3, packed, b"", KEY_BYTES, RECORD_BYTES) == (b"", {}, [key], key, 1)


@pytest.mark.parametrize("keys", [(b"bbbb", b"aaaa"), (b"bbbb", b"bbbb"), (b"a",)])
def test_rows_that_do_not_rise_are_damage(keys: tuple[bytes, ...]) -> None:
    page = [(key, seal(3, key, b"record")) for key in keys]
    with pytest.raises(StoreDamaged):
        unseal_records(3, pack_rows(page), b"aaaa", KEY_BYTES, RECORD_BYTES)


@pytest.mark.parametrize("cut", range(1, 8 + 4 + 10))
def test_packed_row_that_is_cut_off_is_refused(cut: int) -> None:
    packed = pack_rows([(b"key1", seal(3, b"key1", b"record"))])
    with pytest.raises(ValueError):
        unseal_records(3, packed[:-cut], b"", KEY_BYTES, RECORD_BYTES)


def sealed_envelope(key: bytes, key_digest: bytes, request_digest: bytes, spec: bytes) -> bytes:
    lengths = bytes([len(key_digest), len(request_digest)])
    return seal(2, key, bytes(4) + lengths + key_digest + request_digest + spec)


@pytest.mark.parametrize("digests", [(b"", b""), (b"k" * 16, b"r" * 16), (b"k" * 255, b"r" * 255)])
def test_specs_are_cut_out_of_their_envelopes(digests: tuple[bytes, bytes]) -> None:
    keys = [b"key1", b"key2", b"key3"]
    sealed = [sealed_envelope(key, *digests, b"spec of " + key) for key in keys]
    specs = unseal_specs(2, keys, [sealed[0], None, sealed[2]])
    assert specs == [b"spec of key1", None, b"spec of key3"]
    with pytest.raises(ValueError):
        unseal_specs(2, keys, sealed[:2])


@pytest.mark.parametrize("length", range(6))
def test_envelope_shorter_than_its_head_is_corrupt(length: int) -> None:
    with pytest.raises(RecordCorrupt):
        unseal_specs(2, [b"key"], [seal(2, b"key", bytes(length))])


def test_spec_that_fails_its_checksum_is_corrupt() -> None:
    sealed = sealed_envelope(b"key", b"k", b"r", b"spec")
    for bit in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordCorrupt) as error:
            unseal_specs(2, [b"key"], [bytes(flipped)])
        assert (error.value.table, error.value.key) == (2, b"key")


TEXTS = st.lists(st.lists(st.sampled_from([b"a", b"ab", b"ba", b'"x"']), max_size=2), max_size=2)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.text("ab", max_size=4)), max_size=8),
    st.none() | st.frozensets(st.integers(0, 3)),
    TEXTS,
    st.sets(st.integers(0, 7)),
    st.sets(st.integers(0, 7)),
)
def test_what_may_match_is_of_an_owner_and_holds_a_text_of_each_group(
    jobs: list[tuple[int, str]],
    owners: frozenset[int] | None,
    groups: list[list[bytes]],
    spoilt: set[int],
    gone: set[int],
) -> None:
    keys = [b"k%d" % at for at in range(len(jobs))]
    specs = [b'{"x":"%b"}' % text.encode() for _, text in jobs]
    values: list[bytes | None] = [
        seal(2, key, owner.to_bytes(4, "big") + b"\2\1ddd" + spec)
        for key, (owner, _), spec in zip(keys, jobs, specs, strict=True)
    ]
    for at in spoilt & set(range(len(jobs))):
        values[at] = b"\0" + (values[at] or b"")[1:]
    for at in gone & set(range(len(jobs))):
        values[at] = None
    expected = [
        at
        for at, value in enumerate(values)
        if value is not None
        and (
            value != seal(2, keys[at], value[4:])
            or (
                (owners is None or jobs[at][0] in owners)
                and all(any(text in specs[at] for text in group) for group in groups)
            )
        )
    ]
    assert may_match(2, keys, values, owners, groups) == expected


def test_what_is_too_short_for_a_spec_is_kept_to_be_told() -> None:
    assert may_match(2, [b"k", b"l"], [b"", b"abcde"], frozenset({1}), [[b"x"]]) == [0, 1]


def test_statuses_that_records_may_be_in_are_told_by_their_second_byte() -> None:
    keys = [b"k%d" % at for at in range(5)]
    values: list[bytes | None] = [seal(3, key, b"\1%c" % at) for at, key in enumerate(keys)]
    values[1] = None
    values[2] = b"\0" + (values[2] or b"")[1:]
    values[4] = seal(3, keys[4], b"\4")
    assert may_be(3, keys, values, [0, 1]) == [0, 2]
    assert may_be(3, keys, values, frozenset()) == [2]
    assert may_be(3, keys[3:], values[3:], {3, 255}) == [0]


def flipped(value: bytes | None) -> bytes | None:
    return value and value[:-1] + bytes([value[-1] ^ 1])


def test_jobs_are_put_together_from_their_rows() -> None:
    ids = [b"i%d" % at for at in range(7)]
    head = (7).to_bytes(4, "big")
    specs: list[bytes | None] = [seal(2, job_id, head + b"\2\1ddr{}") for job_id in ids]
    specs[1] = seal(2, ids[1], head + b"\0\0{1}")
    specs[3] = None
    lives: list[bytes | None] = [seal(3, job_id, b"live") for job_id in ids]
    dones: list[bytes | None] = [seal(4, job_id, b"done") for job_id in ids]
    lives[1] = dones[2] = lives[4] = dones[4] = None
    made = unseal_jobs((2, 3, 4), ids, specs, lives, dones)
    assert made == [
        StoredJob(ids[0], 7, b"{}", None, b"done"),
        StoredJob(ids[1], 7, b"{1}", None, b"done"),
        StoredJob(ids[2], 7, b"{}", b"live"),
        None,
        ids[4],
        StoredJob(ids[5], 7, b"{}", None, b"done"),
        StoredJob(ids[6], 7, b"{}", None, b"done"),
    ]
    for column in (specs, lives, dones):
        was, column[5] = column[5], flipped(column[5])
        assert unseal_jobs((2, 3, 4), ids, specs, lives, dones) == [*made[:5], ids[5], made[6]]
        column[5] = was


def test_an_envelope_that_is_too_short_is_corrupt() -> None:
    for payload in (b"1234\2\1dd", b"1234\0"):
        assert unseal_jobs((2, 3, 4), [b"k"], [seal(2, b"k", payload)], [None], [b""]) == [b"k"]


def test_each_id_has_a_row_of_each_table_or_none() -> None:
    with pytest.raises(ValueError):
        unseal_jobs((2, 3, 4), [b"k"], [None], [None], [])


def test_keys_are_cut_and_corrupt_rows_told_if_they_are_looked_at() -> None:
    rows = [(b"pa", seal(5, b"pa", b"")), (b"pbb", b"bad!"), (b"p", seal(5, b"p", b"x"))]
    assert keys_behind(5, rows, 1, True) == ([b"a", b"bb", b""], [b"bb"])
    assert keys_behind(5, rows, 1, False) == ([b"a", b"bb", b""], [])
    with pytest.raises(ValueError):
        keys_behind(5, rows, 2, False)
