"""JSON bodies of classify and regress to tf.Examples."""

from __future__ import annotations

from typing import Any

from tensorflow.core.framework import types_pb2

from modelpress.server import json_request, json_values
from modelpress.server.failure import invalid_argument


def fill(body: bytes, request: Any) -> Any:
    """Put signature name and examples of a body into a Classification- or RegressionRequest; raises Failure."""
    document = json_request.parse(body)
    request.model_spec.signature_name = json_request.signature_name(document)
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _example(document["context"], target.context)
        target.context.SetInParent()
    if "examples" not in document:
        raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
    rows = document["examples"]
    if not isinstance(rows, list):
        raise _format_error(document, "Expecting 'examples' value to be an list/array")
    if not rows:
        raise _format_error(document, "'examples' value is an empty array")
    for row in rows:
        _example(row, target.examples.add())
    return request


def _format_error(document: Any, text: str) -> Exception:
    return invalid_argument(f"JSON Value: {json_values.show(document)} {text}")


def _example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {json_values.type_name(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add(name, item, feature)


def _add(name: str, value: Any, feature: Any) -> None:
    if isinstance(value, str):
        _of_kind(name, feature, "bytes_list").append(value.encode("utf-8", "surrogatepass"))
    elif json_values.is_base64(value):
        _of_kind(name, feature, "bytes_list").append(json_values.decode_base64(value))
    elif isinstance(value, bool):
        _of_kind(name, feature, "int64_list").append(int(value))
    elif isinstance(value, int):
        kind = _of_kind(name, feature, "int64_list")
        if not -(2**63) <= value < 2**63:
            raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
        kind.append(value)
    elif isinstance(value, float):
        kind = _of_kind(name, feature, "float_list")
        if not json_values.lossless(value, types_pb2.DT_FLOAT):
            raise invalid_argument(
                f"Cannot convert JSON value: {json_values.show(value)} to float without loss of precision."
            )
        kind.append(value)
    else:
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {json_values.type_name(value)}")


_SAID = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64", None: "UNKNOWN"}


def _of_kind(name: str, feature: Any, kind: str) -> Any:
    """The values of a feature; all of a feature's values are of one kind."""
    found = feature.WhichOneof("kind")
    if found not in (None, kind):
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_SAID[found]}")
    return getattr(feature, kind).value
