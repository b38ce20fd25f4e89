"""OpenTelemetry spans of requests and their round trips to the database. Imported only if TANDEM_TRACING is on.

The operator sets up a tracer provider, for example with `opentelemetry-instrument`. Spans name operations and
statements; they contain no values of requests or records.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time_ns
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_trace_id, get_tracer, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schema.engine.metrics import QUERY_OBSERVER

MAX_STATEMENT_LENGTH = 4000
_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Outermost middleware: a span for each request, in the client's trace if it sends one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tracer = get_tracer("tandem")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        span = self._tracer.start_span(scope["method"], _client_context(scope), SpanKind.SERVER)
        context = span.get_span_context()
        if context.is_valid:
            scope["trace_id"] = format_trace_id(context.trace_id)

        async def send_traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                _finish(span, scope, message["status"])
            await send(message)

        token = QUERY_OBSERVER.set(self._record_query)
        try:
            with use_span(span, end_on_exit=True):
                await self._app(scope, receive, send_traced)
        finally:
            QUERY_OBSERVER.reset(token)

    def _record_query(self, kind: str, load: Any, seconds: float) -> None:
        """Create the span of a finished round trip."""
        ended = time_ns()
        attributes = {
            "db.operation.name": kind,
            **({"db.query.text": _text(load)} if isinstance(load, Sequence) else {}),
        }
        span = self._tracer.start_span(
            f"database {kind}", kind=SpanKind.CLIENT, attributes=attributes, start_time=ended - int(seconds * 1e9)
        )
        span.end(ended)


def _client_context(scope: Scope) -> Any:
    """Read the W3C trace context; None unless there is one `traceparent`."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        if name in (b"traceparent", b"tracestate"):
            headers.setdefault(name.decode(), []).append(value.decode("latin-1"))
    if len(headers.get("traceparent", ())) != 1:
        return None
    return _PROPAGATOR.extract({name: ",".join(values) for name, values in headers.items()})


def _finish(span: Span, scope: Scope, status: int) -> None:
    operation = scope.get("operation")
    if operation:
        span.update_name(operation)
        span.set_attribute("tandem.operation", operation)
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def _text(queries: Sequence[Any]) -> str:
    """Join the statements of a read, without their parameters."""
    return ";\n".join(query[0] for query in queries)[:MAX_STATEMENT_LENGTH]
