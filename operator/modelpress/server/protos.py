"""Messages that the wheel of tensorflow-serving-api leaves out, with TensorFlow Serving's field numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf import wrappers_pb2 as wrappers

METRICS_PATH = "/monitoring/prometheus/metrics"

_PACKAGE = "modelpress.serving"
_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BOOL, _INT64, _MESSAGE = _Field.TYPE_STRING, _Field.TYPE_BOOL, _Field.TYPE_INT64, _Field.TYPE_MESSAGE
_WRAPPED_INT64, _WRAPPED_BOOL, _WRAPPED_STRING = (
    f".google.protobuf.{kind}Value" for kind in ("Int64", "Bool", "String")
)

_MESSAGES: dict[str, Sequence[tuple[str, int, int, str]]] = {
    "PrometheusConfig": (("enable", 1, _BOOL, ""), ("path", 2, _STRING, "")),
    "MonitoringConfig": (("prometheus_config", 1, _MESSAGE, f".{_PACKAGE}.PrometheusConfig"),),
    "BatchingParameters": (
        ("max_batch_size", 1, _MESSAGE, _WRAPPED_INT64),
        ("batch_timeout_micros", 2, _MESSAGE, _WRAPPED_INT64),
        ("max_enqueued_batches", 3, _MESSAGE, _WRAPPED_INT64),
        ("num_batch_threads", 4, _MESSAGE, _WRAPPED_INT64),
        ("thread_pool_name", 5, _MESSAGE, _WRAPPED_STRING),
        ("allowed_batch_sizes", 6, _INT64, "repeated"),
        ("pad_variable_length_inputs", 7, _BOOL, ""),
        ("enable_large_batch_splitting", 8, _MESSAGE, _WRAPPED_BOOL),
        ("max_execution_batch_size", 9, _MESSAGE, _WRAPPED_INT64),
    ),
    "HealthCheckRequest": (("service", 1, _STRING, ""),),
    "HealthCheckResponse": (("status", 1, _INT64, ""),),
}


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="modelpress/serving.proto", package=_PACKAGE, syntax="proto3", dependency=[wrappers.DESCRIPTOR.name]
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, detail in fields:
            entry = message.field.add(name=field, number=number, type=kind, label=_Field.LABEL_OPTIONAL)
            if detail == "repeated":
                entry.label = _Field.LABEL_REPEATED
            elif detail:
                entry.type_name = detail
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


MonitoringConfig = _message("MonitoringConfig")
BatchingParameters = _message("BatchingParameters")
HealthCheckRequest = _message("HealthCheckRequest")
HealthCheckResponse = _message("HealthCheckResponse")
