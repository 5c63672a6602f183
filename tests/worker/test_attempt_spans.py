"""A handler sees the trace of its job, and runs within a span of it."""

import asyncio
from typing import Any

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from headrace.wire.schema import Spec
from headrace.worker import Worker
from headrace.worker.attempt import Assignment
from headrace.worker.handlers import Context, call_plain
from headrace.worker.handlers_async import AsyncContext, call_async

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


class Silent:
    """A feed that nobody hears."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def given(traceparent: str = PARENT) -> Assignment:
    spec = Spec(id="i", name="n", type="t", traceparent=traceparent, tracestate="a=1")
    return Assignment(lease="l", spec=spec, attempt=2)


def run(function: Any, assignment: Assignment) -> Any:
    worker = Worker()
    worker.job("t")(function)
    handler, feed = worker.handlers["t"], Silent()
    if not asyncio.iscoroutinefunction(function):
        return call_plain(handler, Context(assignment, feed), assignment, feed)

    async def call() -> Any:
        loop = asyncio.get_running_loop()
        context = AsyncContext(assignment, feed, loop)
        return await call_async(handler, context, assignment, feed)

    return asyncio.run(call())


def plain(ctx: Context) -> Any:
    here = trace.get_current_span().get_span_context()
    return [ctx.traceparent, ctx.tracestate, f"{here.span_id:016x}"]


async def coroutine(ctx: Context) -> Any:
    return plain(ctx)


@pytest.mark.parametrize("function", [plain, coroutine])
def test_a_handler_runs_within_a_span_that_follows_the_submit(
    spans: InMemorySpanExporter, function: Any
) -> None:
    ending = run(function, given())
    (span,) = spans.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert span.attributes is not None
    here = f"{span.context.span_id:016x}"
    assert msgspec.json.decode(ending.result) == [PARENT, "a=1", here]
    assert (span.name, span.kind) == ("process t", SpanKind.CONSUMER)
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert [f"{link.context.span_id:016x}" for link in span.links] == [SPAN_ID]
    assert span.attributes["headrace.attempt"] == 2


def test_a_failure_is_told_by_the_span(spans: InMemorySpanExporter) -> None:
    def failing(_: Context) -> None:
        raise ValueError("no")

    assert run(failing, given()).outcome == "failed"
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR


def test_a_job_of_no_trace_has_no_span(spans: InMemorySpanExporter) -> None:
    ending = run(plain, given(""))
    assert msgspec.json.decode(ending.result)[0] is None
    assert spans.get_finished_spans() == ()
