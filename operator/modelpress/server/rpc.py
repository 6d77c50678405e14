"""PredictionService and ModelService over gRPC."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from modelpress.server import configs, examples, inference, metadata, tensors
from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.metrics import Metrics
from modelpress.server.servable import Servable
from modelpress.server.versions import Versions

log = logging.getLogger(__name__)

_STATUS = {status.value[0]: status for status in grpc.StatusCode}
_MESSAGE_LIMIT = 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Two servers on one port would each get half of the calls.
    ("grpc.so_reuseport", 0),
)


def _call(method: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Failures as gRPC statuses, and no work for a caller that has given up."""

    @functools.wraps(method)
    def handle(self: Any, request: Any, context: Any) -> Any:
        try:
            remaining = context.time_remaining()
            if remaining is not None and remaining <= 0:
                raise Failure(Code.DEADLINE_EXCEEDED, "Deadline exceeded before the request was run")
            return method(self, request, context)
        except Failure as failure:
            context.abort(_STATUS[failure.code], failure.message[:_MESSAGE_LIMIT])
        except Exception as error:
            log.exception("%s failed", method.__name__)
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"[:_MESSAGE_LIMIT])

    return handle


def _counted(api: str) -> Callable[[Callable[[Any, Any], Any]], Callable[[Any, Any, Any], Any]]:
    """Request count and, of successes, latency."""

    def decorate(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
        @functools.wraps(method)
        def handle(self: Any, request: Any, context: Any) -> Any:
            began = time.perf_counter_ns()
            model = request.model_spec.name
            try:
                response = method(self, request)
            except Failure as failure:
                self.metrics.request_count.add(model, failure.code.name)
                raise
            self.metrics.request_count.add(model, "OK")
            self.metrics.request_latency.add((time.perf_counter_ns() - began) / 1000, model, api, "GRPC")
            return response

        return handle

    return decorate


@contextlib.contextmanager
def _chosen(versions: Versions, request: Any) -> Iterator[tuple[int, Servable]]:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    label = spec.version_label if choice == "version_label" else None
    with versions.use(spec.name, version, label) as used:
        yield used


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """tensorflow.serving.PredictionService."""

    def __init__(self, versions: Versions, metrics: Metrics, *, check_methods: bool, as_content: bool) -> None:
        self.metrics = metrics
        self._versions = versions
        self._check_methods = check_methods
        self._as_content = as_content

    @_call
    @_counted("Predict")
    def Predict(self, request: Any) -> Any:
        """One signature on tensors."""
        with _chosen(self._versions, request) as (version, servable):
            signature = inference.signature_of(servable, request.model_spec.signature_name)
            if self._check_methods:
                inference.check_method(signature)
            outputs = inference.predict(
                servable,
                signature,
                _inputs(request),
                request.output_filter,
                model=request.model_spec.name,
                metrics=self.metrics,
            )
        response = predict_pb2.PredictResponse()
        _model_spec(response.model_spec, request.model_spec.name, signature.name, version)
        for alias, array in outputs.items():
            tensors.encode(array, response.outputs[alias], as_content=self._as_content)
        return response

    @_call
    @_counted("Classify")
    def Classify(self, request: Any) -> Any:
        """Classes and scores of tf.Examples."""
        with _chosen(self._versions, request) as (version, servable):
            signature, result = examples.classify(servable, request, metrics=self.metrics)
        response = classification_pb2.ClassificationResponse(result=result)
        _model_spec(response.model_spec, request.model_spec.name, signature.name, version)
        return response

    @_call
    @_counted("Regress")
    def Regress(self, request: Any) -> Any:
        """A value for each tf.Example."""
        with _chosen(self._versions, request) as (version, servable):
            signature, result = examples.regress(servable, request, metrics=self.metrics)
        response = regression_pb2.RegressionResponse(result=result)
        _model_spec(response.model_spec, request.model_spec.name, signature.name, version)
        return response

    @_call
    def MultiInference(self, request: Any, context: Any) -> Any:
        """Several classify and regress signatures in one run."""
        if not request.tasks:
            raise invalid_argument("Input is empty.")
        with _chosen(self._versions, request.tasks[0]) as (version, servable):
            return examples.infer(servable, version, request, metrics=self.metrics)

    @_call
    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        """Signatures of a version."""
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        metadata.check_fields(request.metadata_field)
        with _chosen(self._versions, request) as (version, servable):
            return metadata.metadata(servable, request.model_spec.name, version)


class Models(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """tensorflow.serving.ModelService."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    @_call
    def GetModelStatus(self, request: Any, context: Any) -> Any:
        """States of a model's versions."""
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
        return metadata.status(self._versions, spec.name, version)

    @_call
    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        """Replace the configuration; answers when newly named models serve."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        self._versions.configure(configs.models(request.config))
        return model_management_pb2.ReloadConfigResponse()


def start(
    versions: Versions,
    metrics: Metrics,
    *,
    addresses: Sequence[str],
    threads: int,
    check_methods: bool = False,
    as_content: bool = False,
    options: Sequence[tuple[str, int | str]] = (),
    handlers: Sequence[Any] = (),
) -> Any:
    """A running grpc.Server; Failure where an address cannot be bound."""
    server = grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        options=[*_OPTIONS, *options],
        maximum_concurrent_rpcs=threads,
    )
    prediction = Prediction(versions, metrics, check_methods=check_methods, as_content=as_content)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(versions), server)
    server.add_generic_rpc_handlers(tuple(handlers))
    for address in addresses:
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise Failure(Code.UNAVAILABLE, f"Cannot listen for gRPC on {address}: {error}") from error
    server.start()
    return server


def _inputs(request: Any) -> dict[str, Any]:
    given = {}
    for alias, proto in request.inputs.items():
        try:
            given[alias] = tensors.decode(proto)
        except (ValueError, TypeError) as error:
            raise invalid_argument(f"tensor parsing error: {alias}") from error
    return given


def _model_spec(spec: Any, name: str, signature: str, version: int) -> None:
    spec.name = name
    spec.signature_name = signature
    spec.version.value = version
