"""Jobs as text: what is taken as alike is alike, and everything else is left to a decoder."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace._native import id_text, job_texts, job_texts_each, reference_text

MANY = 1_000

PIECES = [b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b'"params"', b'"parameters"', b'"a"']
PIECES += [b'"par\\u0061ms"', b'"\xc3\xa9"', b'{"params":', b'{"a":1,"params":', b'{"params":1}']
PIECES += [b'"x"', b'"\\n"', b'"\\ud800"', b'"\\u12g4"', b"1", b"-0", b"1e9", b"1.5", b"01", b'"']
PIECES += [b"9" * 16, b"true", b"nul", b"null", b"\x01", b"\0", b"\xff", b"[" * 63, b"]" * 63]

VALUES = st.sampled_from(
    [
        b"1",
        b"null",
        b'{"a":[1,{}]}',
        b'"\\"}"',
        b"[]",
        b"1e5",
        b'"\xc3\xa9\x7f"',
        b"[" * 64 + b"]" * 64,
    ]
)
FRAMES = st.sampled_from(
    [
        (b'{"type":"a","params":', b"}"),
        (b'{"type":"a", "params": ', b"}"),
        (b'{"params":', b',"type":"a"}'),
        (b'{"parameters":', b"}"),
        (b'{"o":{"params":1},"params":', b" }"),
        (b'{"params":1,"params":', b"}"),
        (b'{"type":"a"}', None),
        (b"{}", None),
        (b'{"type":"\\u0041"}', None),
        (b"[]", None),
    ]
)


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """An array of jobs, often of one frame and often right."""
    frames = draw(st.lists(FRAMES, min_size=1, max_size=3))
    jobs = []
    for _ in range(draw(st.integers(0, 8))):
        prefix, suffix = draw(st.sampled_from(frames))
        jobs.append(prefix if suffix is None else prefix + draw(VALUES) + suffix)
    space = draw(st.sampled_from([b"", b" ", b"\n\t"]))
    end = draw(st.sampled_from([b"]", b"]", b"] ", b",]", b"]]", b"]\0", b""]))
    return space + b"[" + (space + b"," + space).join(jobs) + space + end


def told(texts: Any) -> Any:
    return (
        None
        if texts is None
        else [
            (
                run.frame,
                run.has_params,
                run.plain,
                len(run),
                [run.params_of(position) for position in range(len(run))],
                run.fill(bytes(range(16)) * len(run), b"<", b"|", b">"),
            )
            for run in texts
        ]
    )


@given(st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join) | arrays(), st.integers(1, 4))
@settings(max_examples=2_000, deadline=None)
@example(b'[{"params":1}{"params":1}]', 4)
@example(b'[{"params":1},{"params": 1}]', 4)
@example(b'[{"params":1},{"params":[1}]', 4)
@example(b'[{"params":1},{"params":1', 4)
@example(b'[{"a":1},{"a":1,"b":2}]', 4)
@example(b'{"params":1}', 4)
@example(b'{"params":1},', 4)
@example(b"[]", 4)
@example(b"", 4)
@example(b'{"params":' + b"[" * 65 + b"]" * 65 + b"}", 4)
def test_native_and_twin_agree(body: bytes, alike_max: int) -> None:
    texts = job_texts(body, MANY, alike_max)
    assert told(texts) == told(reference_text.job_texts(body, MANY, alike_max))


BODIES = st.lists(
    st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)
    | st.tuples(FRAMES, VALUES, st.sampled_from([b"", b"", b" ", b"x", b",{}", b"\0"])).map(
        lambda made: (
            (made[0][0] if made[0][1] is None else made[0][0] + made[1] + made[0][1]) + made[2]
        )
    ),
    max_size=6,
)


@given(BODIES, st.integers(1, 4))
@settings(max_examples=2_000, deadline=None)
@example([b'{"params":1}', b'{"params":1e5} x', b'{"params":1}'], 4)
@example([b'{"params":[1', b"2]}"], 4)
@example([b'{"a":"', b'"}'], 4)
@example([b"", b" ", b"[]", b"{}", b"{}"], 4)
def test_native_and_twin_agree_about_bodies_of_one_job(bodies: list[bytes], most: int) -> None:
    runs, others = job_texts_each(bodies, most)
    twins, twin_others = reference_text.job_texts_each(bodies, most)
    assert (told(runs), others) == (told(twins), twin_others)
    assert sum(map(len, runs)) + len(others) == len(bodies)


@given(arrays())
@settings(max_examples=1_000)
def test_what_is_taken_is_the_array_that_a_decoder_reads(body: bytes) -> None:
    texts = job_texts(body, MANY, MANY)
    if texts is None:
        return
    found: list[dict[str, Any]] = []
    for run in texts:
        for position in range(len(run)):
            job = json.loads(run.frame)
            for name in job.keys() & {"params", "parameters"}:
                job[name] = json.loads(run.params_of(position))
            found.append(job)
    assert found == json.loads(body)


def test_jobs_of_one_frame_are_one_run_of_bounded_length() -> None:
    body = json.dumps([{"type": "a", "params": number} for number in range(7)]).encode()
    runs = job_texts(body, 7, 3)
    assert runs is not None
    assert [len(run) for run in runs] == [3, 3, 1]
    assert {run.frame for run in runs} == {b'{"type": "a", "params": null}'}
    assert [run.params_of(0) for run in runs] == [b"0", b"3", b"6"]
    assert job_texts(body, 6, 3) is None


def test_frames_that_differ_only_in_spaces_are_apart() -> None:
    runs = job_texts(b'[{"params":1},{"params": 1},{ "params":1}]', 9, 9)
    assert runs is not None
    assert len({run.frame for run in runs}) == 3


@pytest.mark.parametrize("module", [job_texts, reference_text.job_texts], ids=["native", "twin"])
def test_long_params_are_taken_and_long_frames_are_not(module: Any) -> None:
    for frame_bytes, taken in ((2_048, True), (2_049, False)):
        name = b"x" * (frame_bytes - len(b'{"name":"","params":}'))
        body = b'{"name":"%b","params":"%b"}' % (name, b"y" * 10_000)
        assert (module(body, 1, 1) is not None) == taken


def test_no_params_and_null_params_are_apart() -> None:
    runs = job_texts(b'[{},{"params":null},{"parameters":null}]', 9, 9)
    assert runs is not None
    assert [(run.has_params, run.params_of(0)) for run in runs] == [
        (False, b""),
        (True, b"null"),
        (True, b"null"),
    ]


def test_params_inside_of_texts_and_objects_are_none() -> None:
    body = rb'[{"a":"\"params\":1","o":{"params":2}}]'
    runs = job_texts(body, 9, 9)
    assert runs is not None
    assert not runs[0].has_params
    assert runs[0].frame == body[1:-1]


@pytest.mark.parametrize(
    ("params", "plain"),
    [
        (b'"\\n\\"\\\\\\/"', True),
        ('"é"'.encode(), True),
        (b'"\\u00e9"', False),
        (b"1e5", False),
        (b"1" * 15, True),
        (b"1" * 16, False),
    ],
)
def test_params_that_take_thought_are_told_apart(params: bytes, plain: bool) -> None:
    runs = job_texts(b'[{"params":1},{"params":%b}]' % params, 9, 9)
    assert runs is not None
    assert [run.plain for run in runs] == [plain]


@given(st.text())
def test_a_string_ends_where_a_decoder_says(text: str) -> None:
    """Strings are looked at eight bytes at a time; no letter may hide from that."""
    for encode in (msgspec.json.encode, lambda value: json.dumps(value).encode()):
        body = b'{"params":%b}' % encode(text)
        runs = job_texts(body, 1, 1)
        assert runs is not None
        assert json.loads(runs[0].params_of(0)) == text


@pytest.mark.parametrize("place", range(17))
def test_each_byte_is_seen_at_each_place_of_a_string(place: int) -> None:
    for byte in range(256):
        text = b"a" * place + bytes([byte]) + b"a" * (17 - place)
        body = b'{"params":"%b"}' % text
        taken = job_texts(body, 1, 1)
        assert told(taken) == told(reference_text.job_texts(body, 1, 1))


def test_texts_are_filled_with_their_ids_and_params() -> None:
    runs = job_texts(b'[{"params":{"n": 1}},{"params":"b"}]', 9, 9)
    assert runs is not None
    ids = bytes(range(32))
    assert runs[0].fill(ids, b"<", b"|", b">") == [
        b"<" + id_text(ids[:16]).encode() + b'|{"n": 1}>',
        b"<" + id_text(ids[16:]).encode() + b'|"b">',
    ]
    with pytest.raises(ValueError):
        runs[0].fill(ids[:-1], b"", b"", b"")
    with pytest.raises(IndexError):
        runs[0].params_of(2)
    with pytest.raises(IndexError):
        runs[0].params_of(-1)
