"""The named outputs in an answer, as arrays, whatever protocol it came by."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from modelpress.sidecar import tensor
from modelpress.sidecar.reason import Uncacheable
from modelpress.sidecar.wire_pb2 import PredictAnswer, Tensor

Array = NDArray[Any]
Outputs = dict[str, Array]

LARGEST = 1 << 20
"""Elements of a tensor, and bytes of JSON, beyond which an answer is not read: live requests must not notice."""

_BFLOAT16 = 14
_NUMPY = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    8: "<c8",
    9: "<i8",
    10: "?",
    _BFLOAT16: "<u2",
    17: "<u2",
    18: "<c16",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
"""numpy's types by the numbers of tensorflow.DataType; bfloat16 as its bits."""


class Unreadable(Exception):
    """An answer whose outputs cannot be told with certainty."""


def of_grpc(body: bytes) -> Outputs:
    """The outputs of a PredictResponse in one uncompressed gRPC message."""
    if len(body) < 5 or body[0] or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise Unreadable("The answer is not one plain gRPC message")
    try:
        answer = PredictAnswer.FromString(body[5:])
        return {name: _array(value) for name, value in answer.outputs.items()}
    except (DecodeError, Uncacheable) as error:
        raise Unreadable(str(error)) from error


def of_rest(body: bytes) -> Outputs:
    """The outputs of a REST predict answer, in row or columnar form; one without a name is called by its form."""
    if len(body) > LARGEST:
        raise Unreadable("The answer is too large")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable("The answer is no JSON") from error
    if not isinstance(document, dict) or len(document.keys() & {"predictions", "outputs"}) != 1:
        raise Unreadable("The answer has neither predictions nor outputs")
    if "outputs" in document:
        value = document["outputs"]
        columns = value if _is_named(value) else {"outputs": value}
    else:
        columns = _columns(document["predictions"])
    return {name: _nested(value) for name, value in columns.items()}


def _array(value: Tensor) -> Array:
    sizes, count = tensor.dimensions(value.tensor_shape, largest=LARGEST)
    if value.dtype == tensor.STRING:
        if len(value.string_val) != count:
            raise Unreadable("A string tensor is not written in full")
        return np.array(list(value.string_val), dtype=object).reshape(sizes)
    raw = tensor.content(value, count, largest=LARGEST * 16)
    found: Array = np.frombuffer(raw, dtype=_NUMPY[value.dtype]).reshape(sizes)
    if value.dtype == _BFLOAT16:
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {"b64"}


def _columns(rows: Any) -> dict[str, Any]:
    if not isinstance(rows, list):
        raise Unreadable("The predictions are no list")
    if not rows or not _is_named(rows[0]):
        return {"predictions": rows}
    names = rows[0].keys()
    if any(not isinstance(row, dict) or row.keys() != names for row in rows):
        raise Unreadable("The rows have other names")
    return {name: [row[name] for row in rows] for name in names}


def _nested(value: Any) -> Array:
    """Numbers as numbers; anything else as objects, which are compared as they are."""
    try:
        found = np.array(value)
    except ValueError:  # ragged
        return np.array(json.dumps(value, sort_keys=True), dtype=object)
    return found if found.dtype.kind in "fiub" else np.array(json.dumps(value, sort_keys=True), dtype=object)
