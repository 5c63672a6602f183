"""Jobs that are taken as text give what the decoder's way gives: the same specs, or the same words.

The bodies are drawn, good ones and bad ones; each is submitted both ways.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace.core.commands import Caller
from headrace.core.ids import id_parse
from headrace.http.app import make_app
from headrace.http.decode import check_utf8
from headrace.http.errors import problem_answer
from headrace.http.handlers import submit as handler
from headrace.http.hot import Asked, Question, ask
from headrace.http.site import SITE, Site
from headrace.runtime.config import Config
from headrace.runtime.node import Node
from headrace.wire.problems import Problem

CALLER = Caller("acme", "ann")
NOW_MS = 1_900_000_000_000

VALUES = st.sampled_from(
    [
        *(b"1", b"null", b'""', b"[]", b'{"a" : 1.50}', b'"\\n\\"}"', b'"\xc3\xa9"', b'"\\u00e9"'),
        *(b"1e5", b"1e999", b"1" * 400, b"01", b"+1", b"NaN", b"nul", b'"\\ud800"', b'"\\x"'),
        *(b'"\x01"', b'"\x7f"', b'"\xff"', b"[" * 64 + b"]" * 64, b"[" * 65 + b"]" * 65, b"[1,]"),
        *(b"[1", b"{", b'{"a":1,"a":2}', b'{"params":3}', b"1 2", b'"' + b"x" * (1 << 20) + b'"'),
    ]
)
FIELDS = st.sampled_from(
    [
        *(b'"type":"t"', b'"type":"u"', b'"type": "t"', b'"type":"t" ', b'"type":1', b'"type":""'),
        *(b'"name":"n"', b'"name":"\\u0041"', b'"name":"a\\nb"', b'"name":"\xc3\xa9"', b'"x":1'),
        *(
            b'"priority":9',
            b'"priority":"high"',
            b'"priority":"x"',
            b'"queue":"q"',
            b'"tags":["a"]',
        ),
        *(b'"delay":"1m"', b'"delay":"soon"', b'"start_before":1900000100', b'"max_retries":-1'),
        *(b'"idempotency_key":"k"', b'"requirements":{"cpu_cores":1}', b'"wasm_module":""'),
        *(b'"requirements":{"memory_mb":"x"}', b'"p\\u0061rams":1', b'"arguments":["a"]'),
        b'"wasm_sha256":"' + b"0" * 64 + b'"',
    ]
)
FRAMES = st.tuples(
    st.lists(FIELDS, max_size=2),
    st.sampled_from([b'"params":', b'"params": ', b'"parameters":', b'"params":1,"params":', b""]),
    st.lists(FIELDS, max_size=1),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """One job or an array, mostly of a type and alike, now and then cut or joined wrongly."""
    frames = draw(st.lists(FRAMES, min_size=1, max_size=2))
    typed = draw(st.sampled_from([[b'"type":"t"'], [b'"type":"t"'], []]))
    jobs = []
    for _ in range(draw(st.integers(0, 5))):
        before, name, behind = draw(st.sampled_from(frames))
        params = [name + draw(st.sampled_from([b"1", b'{"a":[]}']) | VALUES)] if name else []
        jobs.append(b"{" + b",".join(typed + before + params + behind) + b"}")
    if len(jobs) == 1 and draw(st.booleans()):
        return jobs[0] + draw(st.sampled_from([b"", b"", b" ", b"}", b"x"]))
    comma = draw(st.sampled_from([b",", b",", b" ,\n", b",,", b""]))
    return b"[" + comma.join(jobs) + draw(st.sampled_from([b"]", b"]", b"] ", b",]", b"]]", b""]))


class Way:
    """A node without a socket, whose clocks stand still."""

    def __init__(self, *, as_text: bool) -> None:
        self.as_text = as_text
        self.node = Node(Config(disk_reserve_mb=0))
        self.site: Site = make_app(self.node)[SITE]
        self.node.clock.now_ms = self.node.clock.wall_ms = lambda: NOW_MS

    async def submit(self, body: bytes) -> Any:
        """Return the problem told, or each job as it is answered and stored."""
        texts = handler.job_texts if self.as_text else lambda *_: None
        try:
            check_utf8(body)
            with mock.patch.object(handler, "job_texts", texts):
                begun = handler.submit(self.site, Asked(CALLER, None, None, body))
                answer = await (ask(self.site, begun) if isinstance(begun, Question) else begun)
        except Problem as problem:
            return problem_answer(problem)
        told = json.loads(answer.body)
        items = told if isinstance(told, list) else [told]
        return type(told), [self.stored(item) for item in items]

    def stored(self, item: dict[str, Any]) -> Any:
        """Return all about a job but its id."""
        text = item.pop("job_id")
        job_id = id_parse(text)
        assert job_id is not None
        stored = self.node.store.job(job_id)
        assert stored is not None
        assert stored.spec.startswith(b'{"id":"%b",' % text.encode())
        return item, stored.owner_id, stored.spec.replace(text.encode(), b""), stored.record


Submit = Callable[[bytes], tuple[Any, Any]]


@pytest.fixture(scope="module")
def both() -> Iterator[Submit]:
    """Submit a body to two nodes, one of which takes nothing as text."""
    with asyncio.Runner() as runner:
        ways = [Way(as_text=True), Way(as_text=False)]
        for way in ways:
            runner.run(way.node.start())
        yield lambda body: (runner.run(ways[0].submit(body)), runner.run(ways[1].submit(body)))
        for way in ways:
            runner.run(way.node.stop())


@given(body=bodies())
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(b"[]")
@example(b" [ ] ")
@example(b"[] x")
@example(b'{"type":"t"}')
@example(b'[{"type":"t"},{"type":"t","params":null},{"type":"t","params":""}]')
@example(b'[{"type":"t","params":1},{"type":"t","params":1}')
@example(b'[{"type":"t","params":1},{"type":"t","params":1}]]')
@example(b'[{"type":"t","params":1,"params":[}]')
@example(b'[{"type":"t","params":1},{"type":"t","params":1e999}]')
@example(b'[{"type":"t","idempotency_key":"k","params":1}]')
def test_both_ways_give_the_same_jobs_or_the_same_problem(both: Submit, body: bytes) -> None:
    as_text, decoded = both(body)
    assert as_text == decoded


def test_a_batch_of_the_usual_kind_is_not_decoded(both: Submit) -> None:
    body = json.dumps([{"type": "t", "params": {"n": number}} for number in range(50)]).encode()
    with mock.patch.object(handler, "decode_batch", wraps=handler.decode_batch) as decodings:
        as_text, decoded = both(body)
    assert decodings.call_count == 1, "the second way's"
    assert as_text == decoded
    assert len(as_text[1]) == 50


def test_a_long_batch_lets_others_have_their_turn(both: Submit) -> None:
    jobs = [{"type": f"t{number % 2}", "params": number} for number in range(1_200)]
    jobs += [{"type": "t"}] * (2 * handler.ALIKE_JOBS_MAX)
    with mock.patch.object(asyncio, "sleep", wraps=asyncio.sleep) as turns:
        as_text, decoded = both(json.dumps(jobs).encode())
    assert as_text == decoded
    assert turns.call_count == 5 + len(jobs) // handler.YIELD_JOBS
