"""Arrow columns as arrays: numbers, booleans, strings, and lists of them that are equally long in all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from modelpress.compress.datasets import columns
from modelpress.compress.rows import Array, Unusable


def rows(column: Any, place: Callable[[int], str]) -> Array | Unusable:
    """A pyarrow Array as rows; `place` names one of them."""
    if isinstance(column, pa.FixedShapeTensorArray):
        missing = _missing(column.storage, place)
        return missing or np.asarray(column.to_numpy_ndarray())
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if kinds.is_dictionary(column.type):
        column = column.dictionary_decode()
    missing = _missing(column, place)
    if missing is not None:
        return missing
    if _is_list(column.type):
        return _lists(column, place)
    if _is_text(column.type):
        return _strings(column)
    if kinds.is_boolean(column.type) or kinds.is_integer(column.type) or kinds.is_floating(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return Unusable("DtypeMismatch", f"holds {column.type}; save numbers, strings, or lists of them")


def _is_list(kind: Any) -> bool:
    return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    return bool(
        kinds.is_string(kind)
        or kinds.is_large_string(kind)
        or kinds.is_binary(kind)
        or kinds.is_large_binary(kind)
        or kinds.is_fixed_size_binary(kind)
    )


def _missing(column: Any, place: Callable[[int], str]) -> Unusable | None:
    if not column.null_count:
        return None
    return columns.no_value(place(int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))))


def _lists(column: Any, place: Callable[[int], str]) -> Array | Unusable:
    if kinds.is_fixed_size_list(column.type):
        lengths = np.full(len(column), column.type.list_size)
    else:
        lengths = np.diff(column.offsets.to_numpy(zero_copy_only=False))
    different = np.flatnonzero(lengths != lengths[0])
    if len(different):
        row = int(different[0])
        return columns.unequal((int(lengths[0]),), (int(lengths[row]),), place(row))
    inner = rows(column.flatten(), lambda index: place(index // max(1, int(lengths[0]))))
    return inner if isinstance(inner, Unusable) else inner.reshape(len(column), int(lengths[0]), *inner.shape[1:])


def _strings(column: Any) -> Array:
    found = np.empty(len(column), object)
    found[:] = [value.encode() if isinstance(value, str) else value for value in column.to_pylist()]
    return found
