"""One request told to people and tools: a line of the access log, and an OpenTelemetry span. Both are off by default.

A span is made when its request has ended, so that a request costs nothing where nobody looks.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from modelpress.sidecar.head import Head
from modelpress.sidecar.measures import Protocol

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

access = logging.getLogger("modelpress.access")

ENDPOINT = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
CONTEXT = (b"traceparent", b"tracestate", b"baggage")
"""Headers of W3C trace context, which are also passed on to the model server as they came."""


class Observed(NamedTuple):
    """A request that has been answered."""

    protocol: str
    path: str
    code: str
    """A gRPC or HTTP code."""
    outcome: str
    """hit, miss, coalesced, bypassed or refused, with the reason of the latter two."""
    seconds: float
    sent: int
    """Bytes of the answer's body."""
    client: str
    context: dict[str, str]
    """W3C trace context as it came."""


Observer = Callable[[Observed], None]


class Told(NamedTuple):
    """What became of a request."""

    code: str
    seconds: float
    sent: int


def observed(protocol: str, head: Head, peer: tuple[str, int], counts: Protocol, told: Told) -> Observed:
    """All that there is to tell of a request; `counts` are its own, with its outcome and nothing else."""
    context = {name.decode(): value.decode("latin-1") for name, value in head.headers if name in CONTEXT}
    return Observed(
        protocol, head.path, told.code, counts.outcome, told.seconds, told.sent, f"{peer[0]}:{peer[1]}", context
    )


def together(observers: Iterable[Observer | None]) -> Observer | None:
    """One observer for all, None where there is none."""
    there = [observer for observer in observers if observer is not None]
    if not there:
        return None

    def tell(observed: Observed) -> None:
        for observer in there:
            observer(observed)

    return tell


def log_access(observed: Observed) -> None:
    """A line of JSON. Neither inputs nor outputs are in it, nor headers beside the trace's."""
    told = {**observed._asdict(), "seconds": round(observed.seconds, 6), "context": observed.context or None}
    access.info("%s", json.dumps({name: value for name, value in told.items() if value is not None}))


def spans() -> Observer | None:
    """An observer that exports spans by OTLP, None unless an endpoint is set and OpenTelemetry is installed."""
    if not any(os.environ.get(name) for name in ENDPOINT):
        return None
    if importlib.util.find_spec("opentelemetry.exporter.otlp") is None:
        logging.getLogger(__name__).warning("%s is set, but OpenTelemetry is not installed: no traces", ENDPOINT[1])
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return spans_of(provider.get_tracer("modelpress.sidecar"))


def spans_of(tracer: Tracer) -> Observer:
    """An observer that makes a span of each request, a child of the client's where it sent a trace context."""
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind, Status, StatusCode

    def tell(observed: Observed) -> None:
        ended = time.time_ns()
        span = tracer.start_span(
            observed.path.lstrip("/"),
            context=extract(observed.context),
            kind=SpanKind.SERVER,
            start_time=ended - int(observed.seconds * 1e9),
            attributes={
                "rpc.system" if observed.protocol == "grpc" else "url.scheme": observed.protocol,
                "modelpress.outcome": observed.outcome,
                "modelpress.code": observed.code,
            },
        )
        if observed.outcome.startswith("refused") or (observed.code != "OK" and observed.code >= "5"):
            span.set_status(Status(StatusCode.ERROR, observed.code))
        span.end(ended)

    return tell
