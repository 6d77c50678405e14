"""Inputs to begin with: the conformance vectors, and what servers say."""

from __future__ import annotations

import base64
import json
import random
import struct
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from modelpress.sidecar import frames, key, tensor
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.tiers import record
from modelpress.sidecar.wire_pb2 import PredictAnswer, PredictRequest, Tensor

VECTORS = Path(__file__).parents[1] / "conformance" / "vectors.json"


def requests(protocol: str) -> tuple[bytes, ...]:
    """All requests of the vectors that come by `protocol`."""
    vectors = json.loads(VECTORS.read_text())["vectors"]
    sides = [side for vector in vectors for side in (vector["left"], vector.get("right")) if side]
    return tuple(base64.b64decode(side["request"]) for side in sides if side["protocol"] == protocol)


def tensors() -> tuple[bytes, ...]:
    """Their tensors."""
    found = []
    for message in requests("grpc"):
        try:
            found += [value.SerializeToString() for value in PredictRequest.FromString(message).inputs.values()]
        except DecodeError:
            continue
    return tuple(found)


def long_requests() -> tuple[bytes, ...]:
    """Of a tensor, and of strings."""
    found = []
    for size in (1024, 1025, 5000):
        request = PredictRequest(model_spec={"name": "m"})
        request.inputs["x"].tensor_content = bytes(size)
        request.inputs["y"].string_val.extend((b"a", bytes(size)))
        found.append(request.SerializeToString())
    return tuple(found)


def conversations() -> tuple[bytes, ...]:
    """What a server sends on a connection with one call, after a byte that says how it is cut."""
    head = b"\x88" + b"\x00\x0ccontent-type\x10application/grpc"
    tail = b"\x00\x0bgrpc-status\x010"
    answer = (
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, head)
        + frames.frame(frames.DATA, 0, 1, b"\0\0\0\0\1x")
        + frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, tail)
    )
    cut = frames.frame(frames.HEADERS, 0, 1, head) + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b"")
    others = [
        frames.settings({frames.Setting.MAX_FRAME_SIZE: 1 << 15, frames.Setting.INITIAL_WINDOW_SIZE: 1}),
        frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.frame(frames.GOAWAY, 0, 0, bytes(8)),
        frames.frame(frames.RST_STREAM, 0, 1, struct.pack(">I", 7)),
        frames.frame(frames.WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)),
        frames.frame(frames.DATA, frames.PADDED, 1, b"\2xx\0\0"),
    ]
    return tuple(
        bytes([size]) + talk for size in (0, 7) for talk in (answer, cut + answer, *(o + answer for o in others))
    )


def answers() -> tuple[bytes, ...]:
    """Answers of either protocol."""
    grpc = []
    for message in tensors():
        body = PredictAnswer(outputs={"y": Tensor.FromString(message)}).SerializeToString()
        grpc.append(b"\0" + len(body).to_bytes(4, "big") + body)
    return (*grpc, b'{"predictions": [{"a": 1, "b": [2.5]}]}', b'{"outputs": {"a": [[1], [2]], "b": {"b64": "YQ=="}}}')


def records() -> tuple[bytes, ...]:
    """A record of the lower tiers, without its digest."""
    answer = Answer(200, ((b"content-type", b"application/grpc"),), b"body", ((b"grpc-status", b"0"),))
    return (record.encode(bytes(32), answer, born=0.0)[:-32],)


def a_request(chance: random.Random) -> bytes:
    """A PredictRequest of few values in many encodings, so that equal questions come up again and again."""
    request = PredictRequest(output_filter=chance.choices(("a", "b"), k=chance.randrange(3)))
    request.model_spec.name = "m"
    if chance.randrange(2):
        request.model_spec.signature_name = key.DEFAULT_SIGNATURE
    if chance.randrange(2):
        request.model_spec.version.value = 7
    for name in ("x", "y")[: chance.randrange(3)]:
        _fill(request.inputs[name], chance)
    return request.SerializeToString()


def _fill(value: Tensor, chance: random.Random) -> None:
    value.dtype = chance.choice((1, 2, 3, 4, 5, 7, 8, 9, 10, 19))
    shape = chance.choice(((), (0,), (1,), (2,), (1, 2), (2, 1), (3,)))
    value.tensor_shape.SetInParent()
    for size in shape:
        value.tensor_shape.dim.add(size=size)
    count = int(np.prod(shape))
    if value.dtype == tensor.STRING:
        value.string_val.extend(chance.choice((b"", b"a", b"ab")) for _ in range(chance.randrange(count + 2)))
        return
    kind = tensor.KINDS[value.dtype]
    if chance.randrange(2):
        element = (0, chance.choice((0, 1, 0x80)))
        each = [bytes([chance.choice(element)]) + bytes(kind.size - 1) for _ in range(count)]
        value.tensor_content = b"".join(each)
    else:
        many = chance.randrange(count * kind.values + 2)
        getattr(value, kind.field).extend(chance.choice((0, 1)) for _ in range(many))
