"""One form for every encoding of a tensor: the bytes of its elements, whatever field they came in.

TensorFlow lets the same tensor be written as `tensor_content` or as typed values, in full or with the last value
repeated. Floating point values stay bit for bit what they were (see wire.proto). What is not understood with
certainty raises Uncacheable: such a request is forwarded, never guessed at.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from modelpress.sidecar.reason import Bypass, Uncacheable
from modelpress.sidecar.wire_pb2 import Tensor, TensorShape

STRING = 7
MOST_DIMENSIONS = 254
"""TensorFlow's own limit."""
MOST_VALUES = 1 << 19
"""Typed values of a tensor: reading more would keep others waiting for more than some 20 ms."""

_CONTENT: int = Tensor.DESCRIPTOR.fields_by_name["tensor_content"].number
"""The fields with higher numbers are those of typed values."""


class Kind(NamedTuple):
    """How the elements of a dtype are written."""

    field: str
    code: str
    """Type code of `array` for one value of `field`."""
    size: int
    """Bytes of an element."""
    values: int = 1
    """Values of `field` that make one element: 2 for complex numbers."""


# Numbers of tensorflow.DataType. Quantized, resource, variant and 8-bit float types are left out: never cached.
KINDS: dict[int, Kind] = {
    1: Kind("float_val", "I", 4),
    2: Kind("double_val", "Q", 8),
    3: Kind("int_val", "i", 4),
    4: Kind("int_val", "B", 1),
    5: Kind("int_val", "h", 2),
    6: Kind("int_val", "b", 1),
    8: Kind("scomplex_val", "I", 8, 2),
    9: Kind("int64_val", "q", 8),
    10: Kind("bool_val", "B", 1),
    14: Kind("half_val", "H", 2),
    17: Kind("int_val", "H", 2),
    18: Kind("dcomplex_val", "Q", 16, 2),
    19: Kind("half_val", "H", 2),
    22: Kind("uint32_val", "I", 4),
    23: Kind("uint64_val", "Q", 8),
}


def is_known(tensor: Tensor) -> bool:
    """Whether its dtype is one whose elements are in the message, and all of it is of the format that we know."""
    return not tensor.version_number and (tensor.dtype == STRING or tensor.dtype in KINDS)


def dimensions(shape: TensorShape, *, largest: int) -> tuple[tuple[int, ...], int]:
    """The sizes of the dimensions and the number of elements, which is at most `largest`."""
    if shape.unknown_rank or len(shape.dim) > MOST_DIMENSIONS:
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    sizes = tuple([dim.size for dim in shape.dim])
    count = 1
    for size in sizes:
        if size < 0:
            raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
        count *= size
    if count > largest or any(size > largest for size in sizes):
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    return sizes, count


def content(tensor: Tensor, count: int, *, largest: int) -> bytes:
    """The little-endian bytes of all `count` elements, at most `largest` of them; strings each with their length."""
    if tensor.version_number:
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    if tensor.dtype == STRING:
        return _strings(tensor, count, largest)
    kind = KINDS.get(tensor.dtype)
    if kind is None or count * kind.size > largest:
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    raw: bytes = tensor.tensor_content
    if raw:
        if len(raw) != count * kind.size or tensor.ListFields()[-1][0].number > _CONTENT:
            raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
        return raw
    return _filled(_values(tensor, kind.field), kind, count)


def _values(tensor: Tensor, wanted: str) -> Sequence[Any]:
    """The values of the one field that a dtype uses; a value in any other field makes the tensor ambiguous."""
    if any(field.number > _CONTENT and field.name != wanted for field, _ in tensor.ListFields()):
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    values: Sequence[Any] = getattr(tensor, wanted)
    return values


def _filled(values: Sequence[Any], kind: Kind, count: int) -> bytes:
    """As TensorFlow reads them: no value means zeros, and the last element is repeated up to `count`."""
    if len(values) > min(count * kind.values, MOST_VALUES) or len(values) % kind.values:
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    try:
        packed = array(kind.code, values)
    except OverflowError as error:  # e.g. 300 for uint8: what the server makes of it is its business
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR) from error
    if sys.byteorder == "big":
        packed.byteswap()
    raw = packed.tobytes()
    last = raw[-kind.size :] if raw else bytes(kind.size)
    return raw + last * (count - len(raw) // kind.size)


def _strings(tensor: Tensor, count: int, largest: int) -> bytes:
    if tensor.tensor_content:
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    values: Sequence[bytes] = _values(tensor, "string_val")
    if len(values) > min(count, MOST_VALUES):
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    last = values[-1] if values else b""
    if (count - len(values)) * (len(last) + 8) > largest:
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    framed: Callable[[bytes], bytes] = lambda value: len(value).to_bytes(8, "little") + value  # noqa: E731
    return b"".join(map(framed, values)) + framed(last) * (count - len(values))
