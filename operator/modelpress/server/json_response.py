"""Arrays and results to JSON in TensorFlow Serving's layout; NaN and Infinity are written as such."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from modelpress.server import tensors
from modelpress.server.failure import invalid_argument
from modelpress.server.json_request import Format
from modelpress.server.servable import Array

_NUMERIC = frozenset(np.dtype(kind) for kind in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "?"))
_NULL = re.compile(b"null")


def predictions(outputs: Mapping[str, Array], form: Format) -> bytes:
    """The body of a successful predict."""
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    if form == "columnar":
        texts = {alias: _text(alias, array) for alias, array in outputs.items()}
        value = next(iter(texts.values())) if len(texts) == 1 else _object(texts, 4)
        return b'{\n    "outputs": ' + value + b"\n}"
    _check_batch(outputs)
    if len(outputs) == 1:
        ((alias, array),) = outputs.items()
        return b'{\n    "predictions": ' + _text(alias, array)[:-1] + b"\n    ]\n}"
    count = next(iter(outputs.values())).shape[0]
    rows = [
        b"\n        " + _object({alias: _text(alias, array[row, ...]) for alias, array in outputs.items()}, 8)
        for row in range(count)
    ]
    return b'{\n    "predictions": [' + b",".join(rows) + (b"\n    ]\n}" if rows else b"]\n}")


def classifications(result: Any) -> bytes:
    """The body of a successful classify."""
    if not result.classifications:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    rows = []
    for entry in result.classifications:
        scores = [_numbers(np.array(item.score, np.float32)) for item in entry.classes]
        pairs = zip(entry.classes, scores, strict=True)
        rows.append(
            b"[" + b", ".join(b"[" + orjson.dumps(item.label) + b", " + score + b"]" for item, score in pairs) + b"]"
        )
    return b'{\n    "results": [' + b", ".join(rows) + b"\n    ]\n}"


def regressions(result: Any) -> bytes:
    """The body of a successful regress."""
    if not result.regressions:
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    values = np.fromiter((entry.value for entry in result.regressions), np.float32)
    return b'{\n    "results": ' + _numbers(values) + b"\n}"


def error(message: str) -> bytes:
    """The body of every failure."""
    return b'{\n    "error": ' + orjson.dumps(message.encode("utf-8", "replace").decode()) + b"\n}"


def _object(members: Mapping[str, bytes], indent: int) -> bytes:
    space = b" " * indent
    inner = b",\n".join(space + b"    " + orjson.dumps(alias) + b": " + text for alias, text in members.items())
    return b"{\n" + inner + b"\n" + space + b"}"


def _check_batch(outputs: Mapping[str, Array]) -> None:
    batch = None
    for alias, array in outputs.items():
        if not array.ndim:
            raise invalid_argument(f"Tensor name: {alias} has no shape information ")
        if batch is not None and array.shape[0] != batch:
            raise invalid_argument(
                f"Tensor name: {alias} has inconsistent batch size: {array.shape[0]} expecting: {batch}"
            )
        batch = array.shape[0]


def _text(alias: str, array: Array) -> bytes:
    if array.dtype == object:
        encode = _as_base64 if alias.endswith("_bytes") else _as_text
        return orjson.dumps(_mapped(array.tolist(), encode))
    if array.dtype not in _NUMERIC:
        raise invalid_argument(
            f"Failed to write JSON value for tensor type: {tensors.name(tensors.DTYPE[array.dtype])}"
        )
    return _numbers(array)


def _numbers(array: Array) -> bytes:
    if not array.ndim:
        return _numbers(array.reshape(1))[1:-1]
    text = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return text
    # orjson writes null for what JSON has no number for; TensorFlow Serving writes tokens.
    tokens = iter(array[~np.isfinite(array)].tolist())
    return _NULL.sub(lambda _: _token(next(tokens)), text)


def _token(value: float) -> bytes:
    if value != value:
        return b"NaN"
    return b"Infinity" if value > 0 else b"-Infinity"


def _mapped(value: Any, encode: Any) -> Any:
    return [_mapped(item, encode) for item in value] if isinstance(value, list) else encode(value)


def _as_base64(value: bytes | str) -> Mapping[str, str]:
    raw = value if isinstance(value, bytes) else value.encode()
    return {"b64": base64.b64encode(raw).decode()}


def _as_text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
