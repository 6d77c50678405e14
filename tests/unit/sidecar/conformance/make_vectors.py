"""Writes vectors.json: `python make_vectors.py`. A test checks that the file is what this makes."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelpress.sidecar.wire_pb2 import PredictRequest, Tensor

FLOAT, DOUBLE, INT32, UINT8, INT16, STRING, INT64, BOOL, HALF = 1, 2, 3, 4, 5, 7, 9, 10, 19
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64

Side = dict[str, Any]


def tensor(dtype: int, shape: tuple[int, ...], content: bytes = b"", **values: Any) -> Tensor:
    """A tensor by content or by typed values; floating point values as their bits."""
    made = Tensor(dtype=dtype, tensor_content=content, **values)
    made.tensor_shape.SetInParent()
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


def floats(*values: float) -> bytes:
    """Little-endian float32."""
    return struct.pack(f"<{len(values)}f", *values)


def bits(*values: float) -> list[int]:
    """The bits of float32 values, for float_val."""
    return list(struct.unpack(f"<{len(values)}I", floats(*values)))


X = tensor(FLOAT, (2, 2), floats(1, 2, 3, 4))


def grpc(
    inputs: dict[str, Tensor] | None = None,
    *,
    model: str = "m",
    signature: str = "",
    outputs: tuple[str, ...] = (),
    asked: int | str | None = None,
    raw: bytes = b"",
    **side: Any,
) -> Side:
    """A Predict request; `asked` is a version or label in it, `raw` is appended to its bytes."""
    request = PredictRequest(output_filter=outputs)
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if isinstance(asked, int):
        request.model_spec.version.value = asked
    elif asked is not None:
        request.model_spec.version_label = asked
    for name, value in (inputs if inputs is not None else {"x": X}).items():
        request.inputs[name].CopyFrom(value)
    return _side("grpc", request.SerializeToString(deterministic=True) + raw, model=side.pop("served", model), **side)


def rest(body: str, **side: Any) -> Side:
    """A REST predict request."""
    return _side("rest", body.encode(), **side)


def _side(
    protocol: str, request: bytes, *, model: str = "m", artifact: str = OLD, version: int = 7, **more: Any
) -> Side:
    encoded = base64.b64encode(request).decode()
    return {"protocol": protocol, "artifact": artifact, "model": model, "version": version, "request": encoded, **more}


def pair(name: str, expect: str, left: Side, right: Side) -> Side:
    """Two requests and whether they are one question."""
    return {"name": name, "expect": expect, "left": left, "right": right}


def alone(name: str, reason: str, side: Side) -> Side:
    """A request that must not be cached."""
    return {"name": name, "expect": "uncacheable", "reason": reason, "left": side}


def different_over_grpc() -> Iterator[Side]:
    """Each differs in one thing only."""
    content = bytes(range(64))
    one = {"x": tensor(FLOAT, (2, 8), content)}
    yield pair("same bytes, other shape", "different", grpc(one), grpc({"x": tensor(FLOAT, (1, 16), content)}))
    yield pair("same bytes, other rank", "different", grpc(one), grpc({"x": tensor(FLOAT, (16,), content)}))
    yield pair("same bytes, other dtype", "different", grpc(one), grpc({"x": tensor(INT32, (2, 8), content)}))
    yield pair("other output", "different", grpc(outputs=("a",)), grpc(outputs=("b",)))
    yield pair("outputs a and b, then a only", "different", grpc(outputs=("a", "b")), grpc(outputs=("a",)))
    yield pair("all outputs, then one", "different", grpc(), grpc(outputs=("a",)))
    yield pair("one output, then twice the same", "different", grpc(outputs=("a",)), grpc(outputs=("a", "a")))
    yield pair("output names cut elsewhere", "different", grpc(outputs=("ab", "c")), grpc(outputs=("a", "bc")))
    yield pair("other signature", "different", grpc(), grpc(signature="classify"))
    yield pair("new weights under the same version", "different", grpc(), grpc(artifact=NEW))
    yield pair("other version", "different", grpc(), grpc(version=8))
    yield pair("two models with one body but for the name", "different", grpc(model="a"), grpc(model="b"))
    yield pair("other input name", "different", grpc({"x": X}), grpc({"y": X}))
    yield pair("inputs exchanged", "different", grpc({"x": X, "y": one["x"]}), grpc({"y": X, "x": one["x"]}))
    yield pair("one input more", "different", grpc({"x": X}), grpc({"x": X, "y": X}))
    yield pair("zero and negative zero", "different", *_scalars(0.0, -0.0))
    yield pair("two NaNs with other payloads", "different", *_content_scalars(0x7FC00000, 0x7FC00001))
    yield pair("quiet and signalling NaN as values", "different", *_value_scalars(0x7FC00001, 0x7F800001))
    yield pair("NaN and infinity", "different", *_content_scalars(0x7FC00000, 0x7F800000))
    yield pair("one bit", "different", *_content_scalars(0x3F800000, 0x3F800001))
    yield from _strings_and_empties()


def _strings_and_empties() -> Iterator[Side]:
    yield pair("strings cut elsewhere", "different", _strings(b"ab", b"c"), _strings(b"a", b"bc"))
    yield pair("string with a NUL", "different", _strings(b"a"), _strings(b"a\0"))
    yield pair("strings in other order", "different", _strings(b"a", b"b"), _strings(b"b", b"a"))
    yield pair("an empty string and no string", "different", _strings(b""), _strings())
    empty = grpc({"x": tensor(FLOAT, (0, 3))})
    yield pair("empty tensors of other shapes", "different", empty, grpc({"x": tensor(FLOAT, (3, 0))}))
    yield pair("empty tensors of other dtypes", "different", empty, grpc({"x": tensor(INT32, (0, 3))}))
    scalar = grpc({"x": tensor(FLOAT, (), floats(1))})
    yield pair("scalar and vector of one", "different", scalar, grpc({"x": tensor(FLOAT, (1,), floats(1))}))


def _strings(*values: bytes) -> Side:
    return grpc({"x": tensor(STRING, (len(values),), string_val=values)})


def _scalars(left: float, right: float) -> tuple[Side, Side]:
    return grpc({"x": tensor(FLOAT, (1,), floats(left))}), grpc({"x": tensor(FLOAT, (1,), floats(right))})


def _content_scalars(*values: int) -> list[Side]:
    return [grpc({"x": tensor(FLOAT, (1,), struct.pack("<I", value))}) for value in values]


def _value_scalars(*values: int) -> list[Side]:
    return [grpc({"x": tensor(FLOAT, (1,), float_val=[value])}) for value in values]


def equal_over_grpc() -> Iterator[Side]:
    """The same question in two encodings."""
    values = grpc({"x": tensor(FLOAT, (2, 2), float_val=bits(1, 2, 3, 4))})
    yield pair("tensor_content and float_val", "equal", grpc(), values)
    ones = {"x": tensor(FLOAT, (3,), float_val=bits(1, 1, 1))}
    yield pair("last value repeated", "equal", grpc(ones), grpc({"x": tensor(FLOAT, (3,), float_val=bits(1))}))
    zeros = grpc({"x": tensor(INT64, (2,), int64_val=[0, 0])})
    yield pair("no value means zeros", "equal", zeros, grpc({"x": tensor(INT64, (2,))}))
    for dtype, field, code in ((UINT8, "int_val", "B"), (INT16, "int_val", "h"), (BOOL, "bool_val", "?")):
        content = struct.pack(f"<2{code}", 1, 0)
        left = grpc({"x": tensor(dtype, (2,), content)})
        yield pair(
            f"content and {field} of dtype {dtype}", "equal", left, grpc({"x": tensor(dtype, (2,), **{field: [1, 0]})})
        )
    half = grpc({"x": tensor(HALF, (1,), b"\x00\x3c")})
    yield pair("content and half_val", "equal", half, grpc({"x": tensor(HALF, (1,), half_val=[0x3C00])}))
    nan = struct.pack("<I", 0x7F800001)
    left = grpc({"x": tensor(FLOAT, (1,), nan)})
    yield pair(
        "signalling NaN as content and value", "equal", left, grpc({"x": tensor(FLOAT, (1,), float_val=[0x7F800001])})
    )
    request = PredictRequest.FromString(base64.b64decode(grpc()["request"]))
    spec, inputs = PredictRequest(model_spec=request.model_spec), PredictRequest(inputs=dict(request.inputs))
    turned = inputs.SerializeToString() + spec.SerializeToString()
    yield pair("field order", "equal", grpc(), _side("grpc", turned))
    yield pair("default signature by name", "equal", grpc(), grpc(signature="serving_default"))
    yield pair("version that answers anyway", "equal", grpc(), grpc(asked=7))
    yield pair("outputs in other order", "equal", grpc(outputs=("a", "b")), grpc(outputs=("b", "a")))


def uncacheable() -> Iterator[Side]:
    """What is not understood with certainty, or not ours to answer."""
    yield alone("unknown field in the request", "UnknownFields", grpc(raw=b"\xa2\x06\x01x"))
    inner = tensor(FLOAT, (1,), floats(1)).SerializeToString() + b"\x92\x01\x01\x01"
    yield alone("unknown field in a tensor", "UnknownFields", grpc({"x": Tensor.FromString(inner)}))
    yield alone("version label", "VersionLabel", grpc(asked="stable"))
    yield alone("version that does not answer", "OtherVersion", grpc(asked=8))
    yield alone("another model's request", "OtherModel", grpc(model="b", served="a"))
    both = tensor(FLOAT, (1,), floats(1), float_val=bits(2))
    yield alone("content and values at once", "UnsupportedTensor", grpc({"x": both}))
    yield alone("values of another dtype", "UnsupportedTensor", grpc({"x": tensor(FLOAT, (1,), int_val=[1])}))
    yield alone("content too short", "UnsupportedTensor", grpc({"x": tensor(FLOAT, (2,), floats(1))}))
    yield alone("more values than elements", "UnsupportedTensor", grpc({"x": tensor(INT32, (1,), int_val=[1, 2])}))
    yield alone("value out of range", "UnsupportedTensor", grpc({"x": tensor(UINT8, (1,), int_val=[300])}))
    yield alone("negative size", "UnsupportedTensor", grpc({"x": tensor(FLOAT, (-1,), floats(1))}))
    yield alone("a shape of 2^62 elements", "UnsupportedTensor", grpc({"x": tensor(FLOAT, (2**31, 2**31))}))
    yield alone("quantized dtype", "UnsupportedTensor", grpc({"x": tensor(11, (1,), b"\1")}))
    yield alone("not a protobuf message", "Malformed", _side("grpc", b"\xff\xff\xff"))


def over_rest() -> Iterator[Side]:
    """JSON."""
    row = rest('{"instances": [[1, 2], [3, 4]]}')
    yield pair("row and columnar form", "different", row, rest('{"inputs": [[1, 2], [3, 4]]}'))
    yield pair("same bytes over gRPC and REST", "different", grpc(), {**grpc(), "protocol": "rest"})
    yield pair("integer and float", "different", rest('{"inputs": [1]}'), rest('{"inputs": [1.0]}'))
    yield pair("number and string", "different", rest('{"inputs": [1]}'), rest('{"inputs": ["1"]}'))
    yield pair("other nesting", "different", row, rest('{"instances": [1, 2, 3, 4]}'))
    yield pair("integers beyond 64 bits", "different", *(rest(f'{{"inputs": [{2**64 + i}]}}') for i in (0, 1)))
    yield pair("zero and negative zero in JSON", "different", rest('{"inputs": [0.0]}'), rest('{"inputs": [-0.0]}'))
    yield pair("NaN and infinity in JSON", "different", rest('{"inputs": [NaN]}'), rest('{"inputs": [Infinity]}'))
    yield pair("signature in JSON", "different", row, rest('{"signature_name": "s", "instances": [[1, 2], [3, 4]]}'))
    yield from _other_signatures(row)
    yield pair("an empty list and an empty object", "different", rest('{"inputs": []}'), rest('{"inputs": {}}'))
    yield pair(
        "a list of pairs and an object", "different", rest('{"inputs": [["a", 1]]}'), rest('{"inputs": {"a": 1}}')
    )
    yield pair(
        "a member twice, in both orders", "different", *(rest(f'{{"inputs": {a}, "inputs": {3 - a}}}') for a in (1, 2))
    )
    yield pair("other members", "different", row, rest('{"instances": [[1, 2], [3, 4]], "more": 1}'))
    yield pair("text after the value", "different", row, rest('{"instances": [[1, 2], [3, 4]]} more'))
    yield pair("header Origin", "different", {**row, "origin": "http://a"}, {**row, "origin": "http://b"})
    yield pair("new weights over REST", "different", row, rest('{"instances": [[1, 2], [3, 4]]}', artifact=NEW))
    yield pair("other version over REST", "different", row, rest('{"instances": [[1, 2], [3, 4]]}', version=8))
    yield pair("two models with one REST body", "different", row, rest('{"instances": [[1, 2], [3, 4]]}', model="n"))
    yield pair("white space", "equal", row, rest(' {"instances":[[1,2],\n[3,4]]}\t'))
    yield pair("escapes", "equal", rest('{"inputs": ["\\u0041\\/"]}'), rest('{"inputs": ["A/"]}'))
    yield pair("order of members", "equal", rest('{"inputs": {"a": 1, "b": 2}}'), rest('{"inputs": {"b": 2, "a": 1}}'))


def _other_signatures(absent: Side) -> Iterator[Side]:
    """TF Serving refuses a signature_name that is no string, null included."""
    for literal in ("null", "true", "false", "0", "7", "[]", "{}", '["serving_default"]', '""', '"None"', '"null"'):
        named = rest(f'{{"signature_name": {literal}, "instances": [[1, 2], [3, 4]]}}')
        yield pair(f"no signature in JSON and {literal}", "different", absent, named)
        as_text = rest(json.dumps({"signature_name": literal, "instances": [[1, 2], [3, 4]]}))
        yield pair(f"the signature {literal} and its text in JSON", "different", named, as_text)
    yield pair("null and no inputs", "different", rest('{"inputs": null}'), rest("{}"))
    yield pair("both forms, one null", "different", rest('{"inputs": 1, "instances": null}'), rest('{"inputs": 1}'))
    yield pair("null and a string", "different", rest('{"inputs": [null]}'), rest('{"inputs": ["None"]}'))
    yield pair("true and one", "different", rest('{"inputs": [true]}'), rest('{"inputs": [1]}'))
    yield pair(
        "an unknown member null and absent", "different", rest('{"inputs": 1, "a": null}'), rest('{"inputs": 1}')
    )
    twice = rest('{"signature_name": "a", "signature_name": "b", "inputs": 1}')
    yield pair("the signature twice", "different", twice, rest('{"signature_name": "b", "inputs": 1}'))


def vectors() -> dict[str, Any]:
    """The whole file."""
    return {"format": 1, "vectors": [*different_over_grpc(), *equal_over_grpc(), *uncacheable(), *over_rest()]}


def text() -> str:
    """As it is written."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("vectors.json").write_text(text())
