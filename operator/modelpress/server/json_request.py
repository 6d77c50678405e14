"""JSON bodies to arrays: through numpy where the result cannot differ, else value by value with the exact error."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import orjson
from tensorflow.core.framework import types_pb2

from modelpress.server import tensors
from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.servable import Array

Format = Literal["row", "columnar"]

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

_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or ] after an array element.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character at": "Invalid encoding in string.",
}


def parse(body: bytes) -> dict[str, Any]:
    """The object in a body; text after it is not looked at."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _lenient(body)
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {show(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Empty when none is named."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {show(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def inputs(document: Mapping[str, Any], types: Mapping[str, int]) -> tuple[dict[str, Array], Format]:
    """Input arrays by alias and the format of the request; `types` are DataType numbers by alias."""
    if not types:
        raise invalid_argument(f"Failed to get input map for signature: {signature_name(document) or 'DEFAULT'}")
    if "instances" in document:
        if "inputs" in document:
            raise invalid_argument(
                f"JSON Value: {show(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
                "keys to exist "
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid_argument(f"JSON Value: {show(document)} Excepting 'instances' to be an list/array")
        if not instances:
            raise invalid_argument(f"JSON Value: {show(document)} No values in 'instances' array")
        return _rows(instances, types), "row"
    if "inputs" in document:
        return _columns(document["inputs"], types), "columnar"
    raise invalid_argument("Missing 'inputs' or 'instances' key")


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


def _lenient(body: bytes) -> Any:
    """What orjson refuses: NaN and Infinity, text after the first value; or the error in RapidJSON's words."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise invalid_argument(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if start == len(text):
        at = "" if not text else f" at offset: {start}"
        dot = "." if text else ""
        raise invalid_argument(f"JSON Parse error: The document is empty{dot}{at}")
    try:
        return json.JSONDecoder(strict=True).raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        said = _PARSE_ERRORS.get(error.msg, error.msg)
        if error.msg == "Expecting ',' delimiter" and _in_object(text[: error.pos]):
            said = "Missing a comma or } after an object member."
        raise invalid_argument(f"JSON Parse error: {said} at offset: {error.pos}") from None
    except RecursionError:
        raise invalid_argument("JSON Parse error: Terminate parsing due to Handler error. at offset: 0") from None


def _in_object(text: str) -> bool:
    """Whether the innermost bracket still open at the end of the text is a brace."""
    open_brackets: list[str] = []
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted, escaped = escaped or character != '"', character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            open_brackets.append(character)
        elif character in "]}":
            open_brackets.pop()
    return bool(open_brackets) and open_brackets[-1] == "{"


def _rows(instances: Sequence[Any], types: Mapping[str, int]) -> dict[str, Array]:
    named = isinstance(instances[0], dict) and not is_base64(instances[0])
    if not isinstance(instances[0], dict) and len(types) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    if not named:
        alias, dtype = next(iter(types.items()))
        fast = _fast(instances, dtype)
        return {alias: _slow_rows(instances, dtype) if fast is None else fast}
    if all(isinstance(row, dict) and row.keys() == types.keys() for row in instances):
        arrays = {alias: _fast([row[alias] for row in instances], dtype) for alias, dtype in types.items()}
        if not any(array is None for array in arrays.values()):
            return {alias: array for alias, array in arrays.items() if array is not None}
    return _slow_named_rows(instances, types)


def _slow_rows(instances: Sequence[Any], dtype: int) -> Array:
    rows: list[Array] = []
    for number, row in enumerate(instances):
        if isinstance(row, dict) and not is_base64(row):
            raise invalid_argument(f"Expecting value/list but got object at item {number} of input list")
        try:
            rows.append(_checked(_tensor(row, dtype), rows))
        except Failure as failure:
            raise invalid_argument(
                f"Failed to process element: {number} of 'instances' list. Error: {failure}"
            ) from None
    return _stack(rows, dtype)


def _slow_named_rows(instances: Sequence[Any], types: Mapping[str, int]) -> dict[str, Array]:
    columns: dict[str, list[Array]] = {alias: [] for alias in types}
    for number, row in enumerate(instances):
        if not isinstance(row, dict) or is_base64(row):
            raise invalid_argument(f"Expecting object but got list at item {number} of input list")
        for alias, value in row.items():
            try:
                if alias not in types:
                    raise invalid_argument(f"JSON object: does not have named input: {alias}")
                columns[alias].append(_checked(_tensor(value, types[alias]), columns[alias]))
            except Failure as failure:
                raise invalid_argument(
                    f"Failed to process element: {number} key: {alias} of 'instances' list. Error: {failure}"
                ) from None
        if row.keys() != types.keys():
            raise invalid_argument(
                f"Failed to process element: {number} of 'instances' list. JSON object: {show(row)} "
                f"keys must be equal to: {','.join(sorted(types))}"
            )
    return {alias: _stack(rows, types[alias]) for alias, rows in columns.items()}


def _checked(array: Array, before: Sequence[Array]) -> Array:
    """Every row must be shaped like the first."""
    if before and array.size != before[0].size:
        raise invalid_argument(f"Expecting tensor size: {before[0].size} but got: {array.size}")
    if before and array.shape != before[0].shape:
        raise invalid_argument(f"Expecting shape {_shape(before[0])} but got: {_shape(array)}")
    return array


def _stack(rows: Sequence[Array], dtype: int) -> Array:
    stacked = np.empty((len(rows), *rows[0].shape), tensors.NUMPY[dtype])
    for number, row in enumerate(rows):
        stacked[number] = row
    return stacked


def _shape(array: Array) -> str:
    return "[" + ",".join(str(size) for size in array.shape) + "]"


def _columns(value: Any, types: Mapping[str, int]) -> dict[str, Array]:
    if not isinstance(value, dict) or is_base64(value):
        if len(types) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        value = {next(iter(types)): value}
    found = {}
    for alias, dtype in types.items():
        if alias not in value:
            raise invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
        fast = _fast(value[alias], dtype)
        found[alias] = _tensor(value[alias], dtype) if fast is None else fast
    return found


def _fast(value: Any, dtype: int) -> Array | None:
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


def _tensor(value: Any, dtype: int) -> Array:
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
