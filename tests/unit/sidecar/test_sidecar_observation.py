"""Trace context, spans and the access log."""

from __future__ import annotations

import json
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from modelpress.sidecar import observation

TRACE = "0af7651916cd43dd8448eb211c80319c"
CONTEXT = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"), ("tracestate", "a=1"), ("baggage", "user=7"))
PATH = "/v1/models/m:predict"


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "modelpress.access"]


async def test_trace_context_reaches_the_model_over_grpc(sidecar, upstream, calling, a_request):
    await calling(sidecar)(a_request(1), metadata=CONTEXT)
    assert CONTEXT[0] in upstream.metadata[-1].items()
    assert CONTEXT[1:] == tuple((name, upstream.metadata[-1][name]) for name, _ in CONTEXT[1:])


async def test_trace_context_reaches_the_model_over_rest(sidecar, upstream, http):
    url = f"http://127.0.0.1:{sidecar.rest.port}{PATH}"
    async with http.post(url, data=b'{"instances": [1]}', headers=dict(CONTEXT)) as answer:
        assert answer.status == 200
    assert set(CONTEXT) <= {(name.lower(), value) for name, value in upstream.headers[-1].items()}


async def test_trace_context_does_not_make_another_question(sidecar, calling, a_request, outcomes):
    call = calling(sidecar)
    await call(a_request(1), metadata=CONTEXT)
    await call(a_request(1))
    assert outcomes(sidecar) == {"requests": 2, "hits": 1, "misses": 1}


async def test_without_being_asked_nothing_is_logged(sidecar, calling, a_request, caplog):
    with caplog.at_level(logging.INFO):
        await calling(sidecar)(a_request(1))
    assert lines(caplog) == []


async def test_the_access_log_tells_outcomes_and_no_contents(start, calling, a_request, http, caplog):
    sidecar = await start({"accessLog": True})
    call = calling(sidecar)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            await call(a_request(4711), metadata=CONTEXT)
        async with http.post(f"http://127.0.0.1:{sidecar.rest.port}{PATH}", data=b'{"instances": [4711]}') as answer:
            await answer.read()
        async with http.get(f"http://127.0.0.1:{sidecar.rest.port}/v1/models/m") as answer:
            await answer.read()
    told = lines(caplog)
    assert [(line["protocol"], line["code"], line["outcome"]) for line in told] == [
        ("grpc", "OK", "miss"),
        ("grpc", "OK", "hit"),
        ("http", "200", "miss"),
        ("http", "200", "bypassed NotCacheable"),
    ]
    assert told[0]["context"] == dict(CONTEXT)
    assert "4711" not in json.dumps(told)


async def test_the_access_log_tells_refusals(start, calling, a_request, caplog):
    sidecar = await start({"accessLog": True, "maxBodyBytes": 10})
    with caplog.at_level(logging.INFO), pytest.raises(Exception, match="larger than 10 bytes"):
        await calling(sidecar)(a_request(1))
    assert [(line["code"], line["outcome"]) for line in lines(caplog)] == [("RESOURCE_EXHAUSTED", "refused TooLarge")]


async def test_counts_are_the_same_with_observers(start, calling, a_request, outcomes):
    sidecar = await start({"accessLog": True})
    for number in (1, 1, 2):
        await calling(sidecar)(a_request(number))
    assert outcomes(sidecar) == {"requests": 3, "hits": 1, "misses": 2}


def test_a_span_is_a_child_of_the_clients():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tell = observation.spans_of(provider.get_tracer("test"))
    tell(observation.Observed("grpc", "/a.B/C", "UNAVAILABLE", "miss", 0.25, 0, "", dict(CONTEXT)))
    (span,) = exporter.get_finished_spans()
    assert (span.name, f"{span.context.trace_id:032x}") == ("a.B/C", TRACE)
    assert span.attributes["modelpress.outcome"] == "miss"
    assert span.end_time - span.start_time == 250_000_000
    assert not span.status.is_ok


def test_without_an_endpoint_there_are_no_spans(monkeypatch):
    for name in observation.ENDPOINT:
        monkeypatch.delenv(name, raising=False)
    assert observation.spans() is None


def test_with_an_endpoint_there_are_spans(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert observation.spans() is not None


async def test_a_collector_is_told_of_requests_as_children_of_their_clients(
    start, calling, a_request, monkeypatch, until
):
    """By OTLP over HTTP, as every collector takes it."""
    told: list[Span] = []

    async def collect(request: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            told.extend(span for scope in resource.scope_spans for span in scope.spans)
        return web.Response()

    application = web.Application()
    application.router.add_post("/v1/traces", collect)
    async with TestServer(application) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", str(collector.make_url("")))
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        call = calling(await start())
        for _ in range(2):
            await call(a_request(1), metadata=CONTEXT)
        await until(lambda: len(told) == 2)
    assert {span.trace_id.hex() for span in told} == {TRACE}
    outcomes = [pair.value.string_value for span in told for pair in span.attributes if "outcome" in pair.key]
    assert outcomes == ["miss", "hit"]
