"""JSON values to tensors: through numpy where the result cannot differ, else one by one with the exact error."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from modelpress.server import tensors
from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.servable import Array

_INTEGERS: dict[int, tuple[int, int]] = {
    types_pb2.DT_INT32: (-(2**31), 2**31 - 1),
    types_pb2.DT_INT16: (-(2**31), 2**31 - 1),
    types_pb2.DT_INT8: (-(2**31), 2**31 - 1),
    types_pb2.DT_UINT8: (-(2**31), 2**31 - 1),
    types_pb2.DT_INT64: (-(2**63), 2**63 - 1),
    types_pb2.DT_UINT32: (0, 2**32 - 1),
    types_pb2.DT_UINT64: (0, 2**64 - 1),
}
_EXACT_INTEGERS = {types_pb2.DT_FLOAT: 2**24 - 1, types_pb2.DT_DOUBLE: 2**53 - 1}
_FLOAT_MAX = float(np.finfo(np.float32).max)


def tensor(value: Any, dtype: int) -> Array:
    """A nested list or a single value as an array of a DataType; raises Failure with the place and the value."""
    found = fast(value, dtype)
    return exact(value, dtype) if found is None else found


def show(value: Any) -> str:
    """A JSON value in an error text, laid out as TensorFlow Serving does."""
    return json.dumps(value, indent=4, ensure_ascii=False)


def decode_base64(value: Any) -> bytes:
    """The bytes of {"b64": "…"}; raises Failure."""
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {show(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def is_base64(value: Any) -> bool:
    """Whether an object stands for a binary string."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def lossless(value: float, dtype: int) -> bool:
    """Whether a number survives conversion to float or double, by TensorFlow Serving's measure."""
    if isinstance(value, int):
        return abs(value) <= _EXACT_INTEGERS[dtype]
    return dtype == types_pb2.DT_DOUBLE or not np.isfinite(value) or abs(value) <= _FLOAT_MAX


def type_name(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return "Object"
    if isinstance(value, list):
        return "Array"
    return "String" if isinstance(value, str) else "Number"


def fast(value: Any, dtype: int) -> Array | None:
    """The array where numpy's reading is beyond doubt, else None."""
    if dtype in _EXACT_INTEGERS:
        return _fast_numbers(value, dtype, "fiu", -_EXACT_INTEGERS[dtype], _EXACT_INTEGERS[dtype])
    if dtype in _INTEGERS:
        return _fast_numbers(value, dtype, "iu", *_INTEGERS[dtype])
    return None


def _fast_numbers(value: Any, dtype: int, kinds: str, low: int, high: int) -> Array | None:
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None
    if array.dtype.kind not in kinds or not array.size:
        return None
    # Written so that NaN says no; booleans among numbers become 0 and 1 unnoticed, so those are looked for by value.
    if not (array.min() >= low and array.max() <= high) or _has_boolean(value, array):
        return None
    return array.astype(tensors.NUMPY[dtype])


def _has_boolean(value: Any, array: Array) -> bool:
    """Only an array with a 0 or a 1 in it can have come from one."""
    if not ((array == 0) | (array == 1)).any():
        return False
    stack = [value]
    while stack:
        item = stack.pop()
        if type(item) is list:
            if item and type(item[0]) is not list:
                if bool in set(map(type, item)):
                    return True
            else:
                stack.extend(item)
        elif type(item) is bool:
            return True
    return False


def exact(value: Any, dtype: int) -> Array:
    """Value by value; raises Failure with the place and the value."""
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    flat: list[Any] = []
    _fill(value, 0, dtype, shape, flat)
    array = np.empty(len(flat), tensors.NUMPY.get(dtype, np.dtype(object)))
    with np.errstate(over="ignore"):
        for place, item in enumerate(flat):
            array[place] = _wrapped(item, array.dtype) if dtype in _INTEGERS else item
    return array.reshape(shape)


def _wrapped(value: int, dtype: np.dtype[Any]) -> Any:
    """Small integer types take the low bits of the int32 they travel in."""
    return np.int64(value).astype(dtype) if dtype.itemsize < 4 else value


def _fill(value: Any, level: int, dtype: int, shape: Sequence[int], flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: {show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        flat.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, level + 1, dtype, shape, flat)


def _element(value: Any, dtype: int) -> Any:
    if isinstance(value, dict):
        if dtype != types_pb2.DT_STRING:
            raise _type_error(value, dtype)
        return decode_base64(value)
    if dtype == types_pb2.DT_STRING:
        if not isinstance(value, str):
            raise _type_error(value, dtype)
        return value.encode("utf-8", "surrogatepass")
    if dtype == types_pb2.DT_BOOL:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    return _number(value, dtype)


def _number(value: Any, dtype: int) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype in _EXACT_INTEGERS:
        if not number:
            raise _type_error(value, dtype)
        if not lossless(value, dtype):
            raise invalid_argument(
                f"Cannot convert JSON value: {show(value)} to {tensors.name(dtype)} without loss of precision."
            )
        return value
    if dtype in _INTEGERS:
        low, high = _INTEGERS[dtype]
        if not number or isinstance(value, float) or not low <= value <= high:
            raise _type_error(value, dtype)
        return value
    raise Failure(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {show(value)} to type: {tensors.name(dtype)}")


def _type_error(value: Any, dtype: int) -> Failure:
    return invalid_argument(
        f"JSON Value: {show(value)} Type: {type_name(value)} is not of expected type: {tensors.name(dtype)}"
    )
