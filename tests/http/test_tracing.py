"""A trace goes from a submit to its worker, and through the span of the server, if it makes any."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from http_tools import Server, open_server
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from headrace.http import site, tracing
from headrace.http.tracing import TracingError, provider_of

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


async def view(server: Server, job_id: str) -> Any:
    return (await server.call("GET", f"/api/v1/jobs/{job_id}")).json["job"]


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/jobs"])
async def test_a_trace_is_kept_and_handed_to_the_worker(server: Server, path: str) -> None:
    reply = await server.call(
        "POST", path, {"type": "t", "params": [1]}, traceparent=PARENT, tracestate="a=1"
    )
    found = await view(server, reply.json["job_id"])
    assert (found["traceparent"], found["tracestate"]) == (PARENT, "a=1")
    (work,) = (await server.poll())["jobs"]
    assert (work["job"]["traceparent"], work["job"]["tracestate"]) == (PARENT, "a=1")
    assert work["job"]["params"] == [1]


async def test_all_jobs_of_a_batch_are_of_its_trace_and_others_are_not(server: Server) -> None:
    batch = [{"type": "t", "params": {"n": n}} for n in range(50)]
    first = (await server.call("POST", "/api/v1/jobs", batch, traceparent=PARENT)).json
    second = (await server.call("POST", "/api/v1/jobs", batch)).json
    assert [(await view(server, told["job_id"]))["traceparent"] for told in first] == [PARENT] * 50
    assert [(await view(server, told["job_id"]))["traceparent"] for told in second] == [None] * 50
    works = (await server.poll(max_jobs=100))["jobs"]
    assert [work["job"].get("traceparent") for work in works] == [PARENT] * 50 + [None] * 50


async def test_what_is_malformed_is_left_out(server: Server) -> None:
    reply = await server.call("POST", "/api/v1/jobs", {"type": "t"}, traceparent="nonsense")
    assert reply.status == 200
    assert (await view(server, reply.json["job_id"]))["traceparent"] is None


async def test_a_submit_that_is_sent_again_in_another_trace_is_the_same(server: Server) -> None:
    body = {"type": "t", "idempotency_key": "k"}
    first = await server.call("POST", "/api/v1/jobs", body, traceparent=PARENT)
    again = await server.call("POST", "/api/v1/jobs", body)
    assert (again.status, again.json["replayed"]) == (200, True)
    assert again.json["job_id"] == first.json["job_id"]


async def test_a_trace_outlives_the_process(tmp_path: Path) -> None:
    where = {"data_dir": tmp_path, "accept_any_filesystem": True}
    server = await open_server(**where)
    reply = await server.call("POST", "/api/v1/jobs", {"type": "t"}, traceparent=PARENT)
    await server.close()
    server = await open_server(**where)
    assert (await view(server, reply.json["job_id"]))["traceparent"] == PARENT
    (work,) = (await server.poll())["jobs"]
    assert work["job"]["traceparent"] == PARENT
    await server.close()


# Spans of the server ----------------------------------------------------------------------------


@pytest.fixture
async def traced(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[Server, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(site, "provider_of", lambda: provider)
    server = await open_server()
    yield server, exporter
    await server.close()


async def test_a_submit_is_a_span_between_its_client_and_its_job(traced: Any) -> None:
    server, exporter = traced
    reply = await server.call("POST", "/api/v1/jobs", {"type": "t"}, traceparent=PARENT)
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("POST /api/v1/jobs", SpanKind.SERVER)
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert span.attributes["http.response.status_code"] == 200
    kept = (await view(server, reply.json["job_id"]))["traceparent"]
    assert kept == f"00-{TRACE_ID}-{span.context.span_id:016x}-01"


async def test_a_request_of_no_trace_begins_one_on_every_route(traced: Any) -> None:
    server, exporter = traced
    job_id = await server.submit()
    assert (await view(server, job_id))["traceparent"] is not None
    await server.poll()
    await server.call("GET", "/no/such/route")
    names = [span.name for span in exporter.get_finished_spans()]
    assert names == [
        "POST /api/v1/jobs",
        "GET /api/v1/jobs/{id}",
        "POST /api/v1/work/poll",
        "GET unrouted",
    ]
    canary = job_id[:13]
    assert all(canary not in span.to_json() for span in exporter.get_finished_spans())


async def test_a_defect_is_an_error_of_the_span(
    traced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, exporter = traced

    def broken(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(server.site.store, "job", broken)
    await server.call("GET", "/api/v1/jobs/01a200b8-6f79-7000-8422-e65ef4ed6da2")
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nobody_who_does_not_ask_gets_spans(environ: dict[str, str]) -> None:
    assert provider_of(environ) is None
    assert not tracing.Spans(None).wanted


def test_who_asks_for_what_cannot_be_had_is_told() -> None:
    with pytest.raises(TracingError, match="otlp, console or none"):
        provider_of({"OTEL_TRACES_EXPORTER": "zipkin"})
    provider = provider_of({"OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "q"})
    assert provider is not None
    assert provider.resource.attributes["service.name"] == "q"
    provider.shutdown()
