"""The span of an attempt, where OpenTelemetry's API is installed and the job is of a trace.

The span is a child of the submit's and linked to it; where no SDK is set up, it goes nowhere. A
job that is of no trace costs one look, and nothing is imported.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from headrace.wire.trace import PARENT_HEADER, STATE_HEADER
from headrace.worker.attempt import Assignment


def attempt_span(assignment: Assignment) -> AbstractContextManager[Any]:
    """Return the span that a handler's call is within."""
    spec = assignment.spec
    if not spec.traceparent:
        return nullcontext()
    try:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return nullcontext()
    carrier = {PARENT_HEADER: spec.traceparent, STATE_HEADER: spec.tracestate}
    context = TraceContextTextMapPropagator().extract(carrier)
    submit = trace.get_current_span(context).get_span_context()
    span: AbstractContextManager[Any] = trace.get_tracer("headrace.worker").start_as_current_span(
        f"process {spec.type}",
        context=context,
        kind=trace.SpanKind.CONSUMER,
        links=[trace.Link(submit)],
        attributes={
            "messaging.system": "headrace",
            "messaging.operation.type": "process",
            "messaging.destination.name": spec.queue,
            "messaging.message.id": spec.id,
            "headrace.attempt": assignment.attempt,
        },
    )
    return span
