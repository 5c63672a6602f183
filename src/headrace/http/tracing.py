"""Spans of requests, where OpenTelemetry is installed and told where to send them.

It is by its own environment variables that it is told: with `OTEL_TRACES_EXPORTER` or an endpoint
of OTLP set, each request is a span, and a job's trace goes on from the span of its submit. Without
them nothing of it is imported, and a submit is of the trace that its headers tell.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

import headrace
from headrace.wire.trace import PARENT_HEADER, STATE_HEADER, Trace
from headrace.wire.trace import trace_of as trace_of_headers

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

EXPORTER: Final = "OTEL_TRACES_EXPORTER"
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
TRACE: Final = web.RequestKey("headrace.trace", Trace)
"""Of the request's span."""


class TracingError(Exception):
    """What the environment asks for cannot be had."""


def trace_of(request: web.Request) -> Trace:
    """Return the trace that a request is part of."""
    found: Trace | None = request.get(TRACE)
    if found is not None:
        return found
    headers = request.headers
    return trace_of_headers(headers.get(PARENT_HEADER), headers.get(STATE_HEADER))


def provider_of(environ: Mapping[str, str] = os.environ) -> "TracerProvider | None":
    """Return what makes spans, as the environment says; None: nobody wants them.

    Raises: TracingError.
    """
    exporter = environ.get(EXPORTER, "")
    wanted = exporter or any(environ.get(name) for name in ENDPOINTS)
    if not wanted or exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    except ImportError:
        raise TracingError(f"{EXPORTER} is set: install headrace[otel]") from None
    made: SpanExporter
    if exporter == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        made = ConsoleSpanExporter()
    elif exporter in ("", "otlp"):
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            raise TracingError("to send spans by OTLP, install headrace[otel]") from None
        made = OTLPSpanExporter()
    else:
        raise TracingError(f"{EXPORTER} is otlp, console or none, not {exporter[:20]!r}")
    resource = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME", "headrace")})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(made))
    return provider


class Spans:
    """The spans of one server's requests."""

    def __init__(self, provider: "TracerProvider | None") -> None:
        self._provider = provider
        self._tracer: Any = None
        if provider is not None:
            self._tracer = provider.get_tracer("headrace.http", headrace.__version__)

    @property
    def wanted(self) -> bool:
        return self._tracer is not None

    def of(self, request: web.Request, route: str) -> AbstractContextManager[Any]:
        """Return the span of a request, which is entered around it."""
        if self._tracer is None:
            return nullcontext()
        return self._span(request, route)

    def _span(self, request: web.Request, route: str) -> AbstractContextManager[Any]:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        headers = request.headers
        resource = request.match_info.route.resource
        above = trace_of_headers(headers.get(PARENT_HEADER), headers.get(STATE_HEADER))
        carrier = {PARENT_HEADER: above.parent, STATE_HEADER: above.state}
        span: AbstractContextManager[Any] = self._tracer.start_as_current_span(
            f"{request.method} {resource.canonical if resource else route}",
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": request.method,
                "http.route": resource.canonical if resource else "",
                "headrace.route": route,
            },
        )
        return span

    def note(self, request: web.Request, span: Any) -> None:
        """Have jobs of this request go on from its span."""
        if span is None:
            return
        context = span.get_span_context()
        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        request[TRACE] = Trace(parent, context.trace_state.to_header())

    def end(self, span: Any, status: int) -> None:
        if span is None:
            return
        from opentelemetry.trace import StatusCode

        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(StatusCode.ERROR)

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()
