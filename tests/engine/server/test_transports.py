"""What the two transports do around a request: time limits, drain, CORS, TLS, options."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from modelpress.server import assembly, failure, flags, inference, ports, rest, rpc
from modelpress.server.failure import HTTP_STATUS, Code, Failure


class Gate:
    """A handler that answers when it is let."""

    def __init__(self):
        self.entered, self.open = threading.Event(), threading.Event()

    def answer(self, method, path, body):
        self.entered.set()
        assert self.open.wait(20)
        return 200, b"{}"


@contextlib.contextmanager
def serving(handler, **options):
    port = ports.unused()
    server = rest.Server(handler, host="127.0.0.1", port=port, threads=2, **{"timeout_seconds": 20.0, **options})
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        handler.open.set()
        server.stop()


def ask(address, method="POST", path="/v1/models/m:predict", body=b"{}"):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request(method, path, body)
    response = connection.getresponse()
    found = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return found


def test_a_request_that_takes_too_long_is_a_gateway_timeout():
    with serving(Gate(), timeout_seconds=0.05) as (_, address):
        status, _, text = ask(address)
    assert status == 504
    assert json.loads(text) == {"error": "Timed out waiting for notification"}


def test_stopping_lets_a_running_request_finish():
    handler = Gate()
    with serving(handler) as (server, address), ThreadPoolExecutor(2) as threads:
        answer = threads.submit(ask, address)
        assert handler.entered.wait(20)
        stopped = threads.submit(server.stop)
        handler.open.set()
        assert answer.result(20)[0] == 200
        stopped.result(20)


def test_a_port_in_use_is_a_failure():
    with serving(Gate()) as (_, address), pytest.raises(Failure, match="Cannot listen for HTTP on port"):
        rest.Server(Gate(), host="127.0.0.1", port=int(address.rpartition(":")[2]), threads=1, timeout_seconds=1)


@pytest.mark.parametrize(("cors", "origin"), [(True, "*"), (False, None)])
def test_cors_headers_only_when_asked_for(cors, origin):
    handler = Gate()
    handler.open.set()
    with serving(handler, cors=cors) as (_, address):
        assert ask(address)[1].get("Access-Control-Allow-Origin") == origin
        assert ask(address, "OPTIONS")[1].get("Access-Control-Allow-Origin") == origin


def test_metrics_are_not_found_unless_configured():
    with serving(Gate()) as (_, address):
        assert ask(address, "GET", "/monitoring/prometheus/metrics", None)[0] == 404


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_an_http_status_and_a_grpc_one(code):
    assert HTTP_STATUS[code] in {200, 400, 401, 403, 404, 409, 429, 499, 500, 501, 503, 504}
    assert rpc._STATUS[code].name == code.name


class Aborted(Exception):
    pass


class Context:
    def __init__(self, remaining):
        self.remaining, self.code, self.details = remaining, None, None

    def time_remaining(self):
        return self.remaining

    def abort(self, code, details):
        self.code, self.details = code, details
        raise Aborted


def test_a_call_past_its_deadline_is_not_run():
    service = rpc.Prediction(SimpleNamespace(), SimpleNamespace(), check_methods=False, as_content=False)
    context = Context(0)
    with pytest.raises(Aborted):
        service.Predict(predict_pb2.PredictRequest(), context)
    assert context.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_fault_of_ours_is_internal_and_told(caplog):
    service = rpc.Prediction(SimpleNamespace(), SimpleNamespace(), check_methods=False, as_content=False)
    context = Context(None)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    with pytest.raises(Aborted):
        service.Predict(request, context)
    assert context.code is grpc.StatusCode.INTERNAL
    assert "AttributeError" in context.details
    assert "Predict failed" in caplog.text


def test_method_names_are_checked_on_demand():
    with pytest.raises(Failure) as caught:
        inference.check_method(SimpleNamespace(method="other"))
    assert caught.value.code is failure.Code.INTERNAL
    assert caught.value.message.endswith("Was: other")


@pytest.mark.parametrize(
    ("arguments", "addresses"),
    [
        ([], ["0.0.0.0:8500"]),
        (["--grpc_socket_path=/s"], ["0.0.0.0:8500", "unix:/s"]),
        (["--port=0", "--grpc_socket_path=/s"], ["unix:/s"]),
    ],
)
def test_where_grpc_listens(arguments, addresses):
    assert assembly.addresses(flags.parse(["--model_base_path=/m", *arguments]), None) == addresses


def test_grpc_on_a_port_in_use_is_a_failure():
    versions, metrics = SimpleNamespace(), SimpleNamespace()
    address = f"127.0.0.1:{ports.unused()}"
    server = rpc.start(versions, metrics, addresses=[address], threads=1)
    try:
        with pytest.raises(Failure, match="Cannot listen for gRPC"):
            rpc.start(versions, metrics, addresses=[address], threads=1)
    finally:
        server.stop(0).wait(10)


def test_more_calls_than_threads_are_turned_away():
    entered, leave = threading.Semaphore(0), threading.Event()

    class Slow:
        signatures = {}

        @contextlib.contextmanager
        def use(self, *_):
            entered.release()
            assert leave.wait(20)
            raise Failure(Code.NOT_FOUND, "done")
            yield

    counter = SimpleNamespace(add=lambda *_: None)
    address = f"127.0.0.1:{ports.unused()}"
    server = rpc.start(Slow(), SimpleNamespace(request_count=counter), addresses=[address], threads=1)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
        )
        running = call.future(request, timeout=20)
        assert entered.acquire(timeout=20)
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=20)
        leave.set()
        assert running.exception(20).code() is grpc.StatusCode.NOT_FOUND
    server.stop(5).wait(10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_outputs_can_travel_as_raw_content():
    class One:
        signatures = {}

        @contextlib.contextmanager
        def use(self, *_):
            definition = SimpleNamespace(
                name="serving_default", inputs={}, outputs={"y": "y:0"}, defaults={}, feeds=(), fetches=("y:0",)
            )
            run = lambda feeds, values, fetches: [np.array([1.5], np.float32)]  # noqa: E731
            yield 1, SimpleNamespace(signatures={"serving_default": definition}, run=run)

    quiet = SimpleNamespace(add=lambda *_: None)
    metrics = SimpleNamespace(request_count=quiet, request_latency=quiet, runtime_latency=quiet)
    service = rpc.Prediction(One(), metrics, check_methods=False, as_content=True)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    output = service.Predict(request, Context(None)).outputs["y"]
    assert output.tensor_content == np.float32(1.5).tobytes()
    assert not output.float_val
