"""An ONNX file read without the onnx package, whose wheels pin another protobuf: nodes and initializers only."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELDS = {
    "Model": [("graph", 7, "Graph", False)],
    "Graph": [("node", 1, "Node", True), ("initializer", 5, "Tensor", True)],
    "Node": [
        *(("input", 1, "string", True), ("output", 2, "string", True)),
        *(("op_type", 4, "string", False), ("attribute", 5, "Attribute", True)),
    ],
    "Attribute": [
        *(("name", 1, "string", False), ("f", 2, "float", False)),
        *(("i", 3, "int64", False), ("ints", 8, "int64", True)),
    ],
    "Tensor": [
        *(("dims", 1, "int64", True), ("data_type", 2, "int64", False), ("float_data", 4, "float", True)),
        *(("int64_data", 7, "int64", True), ("name", 8, "string", False), ("raw_data", 9, "bytes", False)),
    ],
}
"""Message -> (field, number, type, repeated), from onnx.proto (github.com/onnx/onnx, version 1)."""
_FLOAT = 1
_TYPES = {"string": 9, "bytes": 12, "float": 2, "int64": 3}


def read(content: bytes) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Nodes in order (`op_type`, `input`, `output`, `attribute`), and initializers by name."""
    graph = _message("Model").FromString(content).graph
    return list(graph.node), {tensor.name: _array(tensor) for tensor in graph.initializer}


def attributes(node: Any) -> dict[str, Any]:
    """By name: lists of numbers, else the whole number, else the float."""
    return {one.name: list(one.ints) or one.i or one.f for one in node.attribute}


def _array(tensor: Any) -> np.ndarray:
    dtype = np.float32 if tensor.data_type == _FLOAT else np.int64
    values = tensor.float_data if tensor.data_type == _FLOAT else tensor.int64_data
    flat = np.frombuffer(tensor.raw_data, dtype) if tensor.raw_data else np.array(values, dtype)
    return flat.reshape(tuple(tensor.dims))


def _message(name: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="onnx_part.proto", package="onnx_part", syntax="proto2")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for field, number, kind, repeated in fields:
            added = described.field.add(name=field, number=number, label=3 if repeated else 1)
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                added.type, added.type_name = 11, f".onnx_part.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"onnx_part.{name}"))
