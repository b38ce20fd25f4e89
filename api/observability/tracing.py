"""Requests and their trips to the database as OpenTelemetry's spans. Imported only where TANDEM_TRACING is on.

Where the spans go is the operator's business: `opentelemetry-instrument`, or whatever else sets up a tracer provider.
Spans name operations and statements; no value of a request and nothing of a record is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time_ns
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_trace_id, get_tracer, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schema.engine.metrics import QUERY_OBSERVER

LONGEST_STATEMENT = 4000
_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Middleware round everything: one span for each request, in its caller's trace if it came with one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tracer = get_tracer("tandem")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; meanwhile its span is the current one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        span = self._tracer.start_span(scope["method"], _caller(scope), SpanKind.SERVER)
        context = span.get_span_context()
        if context.is_valid:
            scope["trace_id"] = format_trace_id(context.trace_id)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                _finish(span, scope, message["status"])
            await send(message)

        token = QUERY_OBSERVER.set(self._told)
        try:
            with use_span(span, end_on_exit=True):
                await self._app(scope, receive, noting)
        finally:
            QUERY_OBSERVER.reset(token)

    def _told(self, kind: str, load: Any, took: float) -> None:
        """A trip to the database has come back: its span is told of afterwards."""
        ended = time_ns()
        named = {"db.operation.name": kind, **({"db.query.text": _text(load)} if isinstance(load, Sequence) else {})}
        span = self._tracer.start_span(
            f"database {kind}", kind=SpanKind.CLIENT, attributes=named, start_time=ended - int(took * 1e9)
        )
        span.end(ended)


def _caller(scope: Scope) -> Any:
    """The context that the caller's headers speak of."""
    sent: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        if name in (b"traceparent", b"tracestate"):
            sent.setdefault(name.decode(), []).append(value.decode("latin-1"))
    if len(sent.get("traceparent", ())) != 1:
        return None
    return _PROPAGATOR.extract({name: ",".join(values) for name, values in sent.items()})


def _finish(span: Span, scope: Scope, status: int) -> None:
    operation = scope.get("operation")
    if operation:
        span.update_name(operation)
        span.set_attribute("tandem.operation", operation)
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def _text(steps: Sequence[Any]) -> str:
    """The statements of a read; their values are not in them."""
    return ";\n".join(step[0] for step in steps)[:LONGEST_STATEMENT]
