"""The few TensorFlow messages that are read before TensorFlow itself is needed, which takes seconds to start.

Names and numbers are those of tensorflow/core/{example,framework,protobuf}/*.proto and of
tensorflow_serving/apis/{prediction_log,predict,classification,input,model}.proto. Messages that are passed on unread
are `bytes`, which look the same on the wire. They live in a descriptor pool of their own, beside TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "modelpress.tensorflow"
_Types = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Types.TYPE_BOOL,
    "bytes": _Types.TYPE_BYTES,
    "double": _Types.TYPE_DOUBLE,
    "float": _Types.TYPE_FLOAT,
    "int32": _Types.TYPE_INT32,
    "int64": _Types.TYPE_INT64,
    "string": _Types.TYPE_STRING,
    "uint32": _Types.TYPE_UINT32,
    "uint64": _Types.TYPE_UINT64,
}

_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    # `*` is repeated, `map` is a map from string; fields of a message named in _CHOICES exclude one another.
    "BytesList": {"value": (1, "bytes*")},
    "FloatList": {"value": (1, "float*")},
    "Int64List": {"value": (1, "int64*")},
    "Feature": {"bytes_list": (1, "BytesList"), "float_list": (2, "FloatList"), "int64_list": (3, "Int64List")},
    "Features": {"feature": (1, "map Feature")},
    "FeatureList": {"feature": (1, "Feature*")},
    "FeatureLists": {"feature_list": (1, "map FeatureList")},
    "SequenceExample": {"context": (1, "Features"), "feature_lists": (2, "FeatureLists")},
    "Dim": {"size": (1, "int64")},
    "Shape": {"dim": (2, "Dim*"), "unknown_rank": (3, "bool")},
    "TensorInfo": {"name": (1, "string"), "dtype": (2, "int32"), "tensor_shape": (3, "Shape")},
    "SignatureDef": {
        "inputs": (1, "map TensorInfo"),
        "outputs": (2, "map TensorInfo"),
        "method_name": (3, "string"),
    },
    "MetaInfo": {"tags": (4, "string*")},
    "MetaGraph": {"meta_info_def": (1, "MetaInfo"), "signature_def": (5, "map SignatureDef")},
    "SavedModel": {"meta_graphs": (2, "MetaGraph*")},
    "NodeDef": {"name": (1, "string"), "op": (2, "string")},
    "GraphDef": {"node": (1, "NodeDef*")},
    "Tensor": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "Shape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"),
        "double_val": (6, "double*"),
        "int_val": (7, "int32*"),
        "string_val": (8, "bytes*"),
        "scomplex_val": (9, "float*"),
        "int64_val": (10, "int64*"),
        "bool_val": (11, "bool*"),
        "dcomplex_val": (12, "double*"),
        "half_val": (13, "int32*"),
        "uint32_val": (16, "uint32*"),
        "uint64_val": (17, "uint64*"),
    },
    "ModelSpec": {"signature_name": (3, "string")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "map Tensor")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "Examples": {"examples": (1, "bytes*")},
    "Input": {"example_list": (1, "Examples"), "example_list_with_context": (2, "Examples")},
    "ExamplesRequest": {"model_spec": (1, "ModelSpec"), "input": (2, "Input")},
    "ExamplesLog": {"request": (1, "ExamplesRequest")},
    "PredictionLog": {
        "classify_log": (2, "ExamplesLog"),
        "regress_log": (3, "ExamplesLog"),
        "predict_log": (6, "PredictLog"),
    },
}
_CHOICES = frozenset({"Feature", "Input", "PredictionLog"})

DTYPES: Mapping[int, str] = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    14: "bfloat16",
    15: "qint16",
    16: "quint16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
}
"""tensorflow.DataType to TensorFlow's own names."""


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if name in _CHOICES:
            message.oneof_decl.add(name="kind")
        for field, (number, kind) in fields.items():
            _add_field(message, field, number, kind, is_choice=name in _CHOICES)
    return file


def _add_field(message: Any, name: str, number: int, kind: str, *, is_choice: bool = False) -> None:
    repeated = kind.endswith("*")
    field = message.field.add(name=name, number=number)
    field.label = _Types.LABEL_REPEATED if repeated or kind.startswith("map ") else _Types.LABEL_OPTIONAL
    if is_choice:
        field.oneof_index = 0
    if kind.startswith("map "):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, kind.removeprefix("map "))
        field.type, field.type_name = _Types.TYPE_MESSAGE, f".{_PACKAGE}.{message.name}.{entry.name}"
        return
    plain = kind.removesuffix("*")
    if plain in _SCALARS:
        field.type = _SCALARS[plain]
    else:
        field.type, field.type_name = _Types.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


SequenceExample = _message("SequenceExample")
"""Reads a plain Example too: its only field is `context` here."""
GraphDef = _message("GraphDef")
PredictionLog = _message("PredictionLog")
SavedModel = _message("SavedModel")
