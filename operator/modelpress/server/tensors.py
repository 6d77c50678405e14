"""TensorProto to numpy and back, with the semantics of TensorFlow's Tensor::FromProto and Tensor::AsProtoField."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from tensorflow import dtypes
from tensorflow.core.framework import types_pb2

STRING = types_pb2.DT_STRING

_NUMERIC = (
    types_pb2.DT_FLOAT,
    types_pb2.DT_DOUBLE,
    types_pb2.DT_INT32,
    types_pb2.DT_UINT8,
    types_pb2.DT_INT16,
    types_pb2.DT_INT8,
    types_pb2.DT_INT64,
    types_pb2.DT_BOOL,
    types_pb2.DT_UINT16,
    types_pb2.DT_UINT32,
    types_pb2.DT_UINT64,
    types_pb2.DT_HALF,
    types_pb2.DT_BFLOAT16,
    types_pb2.DT_COMPLEX64,
    types_pb2.DT_COMPLEX128,
)

NUMPY: dict[int, np.dtype[Any]] = {number: np.dtype(dtypes.as_dtype(number).as_numpy_dtype) for number in _NUMERIC}
NUMPY[STRING] = np.dtype(object)
DTYPE: dict[np.dtype[Any], int] = {dtype: number for number, dtype in NUMPY.items()}

_FIELD = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
}

# On the wire these fields are one length-delimited run of little-endian numbers: numpy's own memory.
_PACKED_TAG = {
    types_pb2.DT_FLOAT: b"\x2a",
    types_pb2.DT_DOUBLE: b"\x32",
    types_pb2.DT_COMPLEX64: b"\x4a",
    types_pb2.DT_COMPLEX128: b"\x62",
}
_HALVES = (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16)
_WORTH_PACKING = 64


def name(dtype: int) -> str:
    """TensorFlow's short name, such as `float` or `int64`, as in its error texts."""
    return _SHORT.get(dtype) or str(types_pb2.DataType.Name(dtype)).removeprefix("DT_").lower()


_SHORT = {types_pb2.DT_FLOAT: "float", types_pb2.DT_DOUBLE: "double", types_pb2.DT_HALF: "half"}


def decode(proto: Any) -> np.ndarray[Any, Any]:
    """The array a TensorProto holds; ValueError where TensorFlow could not parse it."""
    dtype = NUMPY.get(proto.dtype)
    if dtype is None or proto.tensor_shape.unknown_rank:
        raise ValueError(f"no such tensor: {types_pb2.DataType.Name(proto.dtype)}")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape} is not fully defined")
    count = math.prod(shape)
    if proto.dtype == STRING:
        return _filled(np.array([*proto.string_val, None], dtype=object)[:-1], count, b"").reshape(shape)
    content = proto.tensor_content
    if content:
        if len(content) != count * dtype.itemsize:
            raise ValueError(f"{len(content)} bytes cannot be {count} elements of {dtype}")
        return np.frombuffer(content, dtype).reshape(shape)
    return _filled(_field_values(proto, dtype), count, 0).reshape(shape)


def encode(array: np.ndarray[Any, Any], proto: Any, *, as_content: bool = False) -> None:
    """Write an array into an empty TensorProto: typed fields like TensorFlow Serving, or tensor_content."""
    number = DTYPE[array.dtype]
    proto.dtype = number
    dims = proto.tensor_shape.dim
    for size in array.shape:
        dims.add().size = size
    if number == STRING:
        proto.string_val.extend(_bytes(value) for value in array.ravel().tolist())
    elif as_content:
        proto.tensor_content = array.tobytes()
    elif (tag := _PACKED_TAG.get(number)) and array.size:
        raw = array.tobytes()
        proto.MergeFromString(tag + _varint(len(raw)) + raw)
    elif number in _HALVES:
        proto.half_val.extend(array.view(np.uint16).ravel().tolist())
    else:
        getattr(proto, _FIELD[number]).extend(array.ravel().tolist())


def strings(values: Iterable[bytes]) -> np.ndarray[Any, Any]:
    """A vector of byte strings; numpy's own conversion would cut trailing zero bytes."""
    return np.array([*values, None], dtype=object)[:-1]


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _filled(values: np.ndarray[Any, Any], count: int, empty: Any) -> np.ndarray[Any, Any]:
    """A field may hold fewer values than the shape says: the last one repeats."""
    if values.size == count:
        return values
    if values.size > count:
        return values[:count]
    last = values[-1] if values.size else empty
    padding = np.empty(count - values.size, values.dtype)
    padding[:] = last
    return np.concatenate([values, padding])


def _field_values(proto: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    field = getattr(proto, _FIELD[proto.dtype])
    if proto.dtype in _HALVES:
        return np.fromiter(field, np.uint16, len(field)).view(dtype)
    if proto.dtype in (types_pb2.DT_COMPLEX64, types_pb2.DT_COMPLEX128):
        part = np.float32 if proto.dtype == types_pb2.DT_COMPLEX64 else np.float64
        return np.fromiter(field, part, len(field) // 2 * 2).view(dtype)
    if len(field) >= _WORTH_PACKING and proto.dtype in _PACKED_TAG:
        packed = _packed(proto, len(field), dtype)
        if packed is not None:
            return packed
    return np.fromiter(field, dtype, len(field))


def _packed(proto: Any, count: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """The values out of the serialized message, tens of times faster than one Python object each.

    None unless the field is verifiably the last one of the message.
    """
    raw = proto.SerializeToString()
    size = count * dtype.itemsize
    head = _PACKED_TAG[proto.dtype] + _varint(size)
    start = len(raw) - size
    if start < len(head) or raw[start - len(head) : start] != head:
        return None
    return np.frombuffer(raw, dtype, count, start)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
