"""JSON bodies of predict to arrays by input name, in row or columnar format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import orjson

from modelpress.server import json_values, tensors
from modelpress.server.failure import Failure, invalid_argument
from modelpress.server.servable import Array

Format = Literal["row", "columnar"]


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
        raise _malformed(document, "Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Empty when none is named."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _malformed(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def inputs(document: Mapping[str, Any], types: Mapping[str, int]) -> tuple[dict[str, Array], Format]:
    """Input arrays by alias and the format of the request; `types` are DataType numbers by alias."""
    if not types:
        raise invalid_argument(f"Failed to get input map for signature: {signature_name(document) or 'DEFAULT'}")
    if "instances" in document:
        if "inputs" in document:
            raise _malformed(
                document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise _malformed(document, "Excepting 'instances' to be an list/array")
        if not instances:
            raise _malformed(document, "No values in 'instances' array")
        return _rows(instances, types), "row"
    if "inputs" in document:
        return _columns(document["inputs"], types), "columnar"
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _malformed(document: Any, text: str) -> Failure:
    return invalid_argument(f"JSON Value: {json_values.show(document)} {text}")


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
    named = isinstance(instances[0], dict) and not json_values.is_base64(instances[0])
    if not isinstance(instances[0], dict) and len(types) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    if not named:
        alias, dtype = next(iter(types.items()))
        fast = json_values.fast(instances, dtype)
        return {alias: _slow_rows(instances, dtype) if fast is None else fast}
    if all(isinstance(row, dict) and row.keys() == types.keys() for row in instances):
        arrays = {alias: json_values.fast([row[alias] for row in instances], dtype) for alias, dtype in types.items()}
        if not any(array is None for array in arrays.values()):
            return {alias: array for alias, array in arrays.items() if array is not None}
    return _slow_named_rows(instances, types)


def _slow_rows(instances: Sequence[Any], dtype: int) -> Array:
    rows: list[Array] = []
    for number, row in enumerate(instances):
        if isinstance(row, dict) and not json_values.is_base64(row):
            raise invalid_argument(f"Expecting value/list but got object at item {number} of input list")
        try:
            rows.append(_checked(json_values.exact(row, dtype), rows))
        except Failure as failure:
            raise invalid_argument(
                f"Failed to process element: {number} of 'instances' list. Error: {failure}"
            ) from None
    return _stack(rows, dtype)


def _slow_named_rows(instances: Sequence[Any], types: Mapping[str, int]) -> dict[str, Array]:
    columns: dict[str, list[Array]] = {alias: [] for alias in types}
    for number, row in enumerate(instances):
        if not isinstance(row, dict) or json_values.is_base64(row):
            raise invalid_argument(f"Expecting object but got list at item {number} of input list")
        for alias, value in row.items():
            try:
                if alias not in types:
                    raise invalid_argument(f"JSON object: does not have named input: {alias}")
                columns[alias].append(_checked(json_values.exact(value, types[alias]), columns[alias]))
            except Failure as failure:
                raise invalid_argument(
                    f"Failed to process element: {number} key: {alias} of 'instances' list. Error: {failure}"
                ) from None
        if row.keys() != types.keys():
            raise invalid_argument(
                f"Failed to process element: {number} of 'instances' list. JSON object: {json_values.show(row)} "
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
        # A string on its own is the element, not an array in the array.
        stacked[number] = row[()]
    return stacked


def _shape(array: Array) -> str:
    return "[" + ",".join(str(size) for size in array.shape) + "]"


def _columns(value: Any, types: Mapping[str, int]) -> dict[str, Array]:
    if not isinstance(value, dict) or json_values.is_base64(value):
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
        found[alias] = json_values.tensor(value[alias], dtype)
    return found
