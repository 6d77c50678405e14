"""What is fuzzed: each target takes any bytes and fails by an exception, which no bytes may cause.

A target returns a word for what became of the input, so that a run can show that it reached more than refusals.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import blake3
import numpy as np
import seeds
import talks
import wire
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from modelpress.api.tunables import Tunables
from modelpress.sidecar import availability, frames, grpc_codes, json_key, key, tensor
from modelpress.sidecar.address import Address
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.channel import Channel
from modelpress.sidecar.grpc_head import METHODS, PREDICT, GrpcHead
from modelpress.sidecar.grpc_question import named_model
from modelpress.sidecar.head import Head
from modelpress.sidecar.http2 import Connection
from modelpress.sidecar.key import Identity
from modelpress.sidecar.outline import BULK, Outline
from modelpress.sidecar.process import Settings, Sidecar
from modelpress.sidecar.reason import Uncacheable
from modelpress.sidecar.request import Desk, Request
from modelpress.sidecar.rest_upstream import RestUpstream
from modelpress.sidecar.rollout import outputs
from modelpress.sidecar.stream import UpstreamResponse
from modelpress.sidecar.tiers import record
from modelpress.sidecar.wire_pb2 import PredictAnswer, PredictRequest, Tensor

IDENTITY = Identity("m", "sha256:" + "a" * 64)
NOWHERE = Address("127.0.0.1", 1)
LARGEST = 1 << 16
MOST_REMEMBERED = 50_000
DEEPEST = 300

Meaning = Any


class Target(NamedTuple):
    """A name, what is called, inputs to begin with, and pieces that its format likes."""

    name: str
    run: Callable[[bytes], str]
    seeds: tuple[bytes, ...]
    pieces: tuple[bytes, ...] = ()
    make: Callable[[random.Random], bytes] | None = None
    """Inputs by the format's own rules, which chance alone would seldom hit."""


class Meanings:
    """By key what was asked: one key must never have two meanings, nor what we understand two keys."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}
        self._names: dict[bytes, bytes] = {}

    def check(self, name: bytes, meaning: Meaning) -> None:
        told = hashlib.sha256(repr(meaning).encode()).digest()
        if self._known.setdefault(name, told) != told:
            raise AssertionError(f"One key for two questions; the second is {meaning!r}")
        if self._names.setdefault(told, name) != name:
            raise AssertionError(f"Two keys for one question: {meaning!r}")
        if len(self._known) > MOST_REMEMBERED:
            self._known.clear()
            self._names.clear()


_DTYPES = {**outputs._NUMPY, tensor.STRING: ""}
_CONTENT = {"<f4": "<u4", "<f8": "<u8", "<f2": "<u2", "<c8": "<u4", "<c16": "<u8"}
"""Floating point numbers as bits: NaN with another payload is another question."""


def elements(value: Tensor) -> Meaning:
    """The elements of a tensor as TensorFlow's documentation reads them, by numpy and not by our own reader."""
    shape = tuple(dim.size for dim in value.tensor_shape.dim)
    count = int(np.prod([1, *shape], dtype=object))
    if value.dtype == tensor.STRING:
        found = list(value.string_val) or [b""]
        return value.dtype, shape, (found + found[-1:] * count)[:count]
    numpy_type = _DTYPES[value.dtype]
    bits = np.dtype(_CONTENT.get(numpy_type, numpy_type))
    if value.tensor_content:
        return value.dtype, shape, np.frombuffer(value.tensor_content, bits).tobytes()
    name = tensor.KINDS[value.dtype].field
    each = tensor.KINDS[value.dtype].values
    typed = np.array(list(getattr(value, name)) or [0] * each, dtype=object).astype(bits)
    rest = np.tile(typed[-each:], count)
    return value.dtype, shape, np.concatenate([typed, rest])[: count * each].tobytes()


class Predict:
    """The canonical key of a PredictRequest: 32 bytes or Uncacheable, equal only where the meaning is."""

    def __init__(self) -> None:
        self._meanings = Meanings()

    def __call__(self, data: bytes) -> str:
        try:
            name = key.predict(IDENTITY, 7, data, largest=LARGEST)
        except Uncacheable as uncacheable:
            return uncacheable.reason
        request = PredictRequest.FromString(data)
        inputs = {named: elements(value) for named, value in request.inputs.items()}
        signature = request.model_spec.signature_name or key.DEFAULT_SIGNATURE
        self._meanings.check(name, (signature, sorted(inputs.items()), sorted(request.output_filter)))
        again = key.predict(IDENTITY, 7, _turned(request), largest=LARGEST)
        assert again == name, "The same message with its fields in other order has another key"
        return "keyed"


def _turned(request: PredictRequest) -> bytes:
    names = list(request.inputs)[::-1]
    first = PredictRequest(output_filter=request.output_filter[::-1]).SerializeToString()
    inputs = [PredictRequest(inputs={name: request.inputs[name]}).SerializeToString() for name in names]
    return b"".join((first, *inputs, PredictRequest(model_spec=request.model_spec).SerializeToString()))


class Json:
    """The canonical key of a REST body: always 32 bytes, equal only where the JSON says the same."""

    def __init__(self) -> None:
        self._meanings = Meanings()

    def __call__(self, data: bytes) -> str:
        name = json_key.predict(IDENTITY, 7, data, b"")
        assert len(name) == 32
        found = json_key.members(data)
        refused = found is not None and not isinstance(found.get("signature_name", ""), str)
        if found is None or refused or len(json_key.FORMS.keys() & found.keys()) != 1:
            self._meanings.check(name, ("bytes", data))
            return "bytes"
        if data.count(b"[") + data.count(b"{") > DEEPEST:  # neither we nor json can always tell what it means
            return "deep"
        number = lambda text: ("number", text)  # noqa: E731 - a tuple, which no JSON text becomes
        members = lambda pairs: ("object", sorted(dict(pairs).items()))  # noqa: E731
        read = {"parse_int": number, "parse_float": number, "parse_constant": number, "object_pairs_hook": members}
        self._meanings.check(name, json.loads(data, **read))
        return "keyed"


def of_tensor(data: bytes) -> str:
    """A tensor's content has just as many bytes as its dtype and shape say, and no more than allowed."""
    try:
        value = Tensor.FromString(data)
    except DecodeError:
        return "malformed"
    try:
        _, count = tensor.dimensions(value.tensor_shape, largest=LARGEST)
        content = tensor.content(value, count, largest=LARGEST)
    except Uncacheable:
        return "uncacheable"
    if value.dtype != tensor.STRING:
        assert len(content) == count * tensor.KINDS[value.dtype].size <= LARGEST
    return "read"


def of_named(data: bytes) -> str:
    """Which model a request of any method names."""
    found = [named_model(path, data) for path in METHODS if path.startswith("/tensorflow.serving.Prediction")]
    return "named" if any(spec is not None and spec.name for spec in found) else "unnamed"


def of_outline(data: bytes) -> str:
    """What long requests say is what all of them says, but for what makes them long; however they are cut."""
    pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
    try:
        short, spec = Outline(pieces, 0).request(), Outline(pieces, 0).only(1)
    except Uncacheable:
        return "uncacheable"
    assert (short, spec) == (Outline([data], 0).request(), Outline([data], 0).only(1))
    try:
        whole = PredictRequest.FromString(data)
    except DecodeError:
        return "malformed"
    found = PredictRequest.FromString(short)
    assert PredictRequest.FromString(spec).model_spec == whole.model_spec
    for request in (whole, found):
        for value in request.inputs.values():
            value.tensor_content = b"" if len(value.tensor_content) > BULK else value.tensor_content
            value.string_val[:] = [b"" if len(one) > BULK else one for one in value.string_val]
    assert found == whole
    return "read"


class _Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    close = abort


_LOOP = asyncio.new_event_loop()


def of_frames(data: bytes) -> str:
    """What a server sends: understood or the connection is ended; the same however it is cut."""
    cut = data[0] if data else 0
    whole, pieces = (_LOOP.run_until_complete(_received(data[1:], size)) for size in (len(data) + 1, cut % 40 + 1))
    assert whole == pieces, f"{whole} in one piece, {pieces} in pieces of {cut % 40 + 1}"
    return whole[0]


async def _received(data: bytes, size: int) -> tuple[str, str]:
    connection, wire = Connection(lambda _: None), _Wire()
    connection.connection_made(wire)
    connection.data_received(frames.settings({}))
    call = connection.call(b"", (b"body",))
    for start in range(0, len(data), size):
        if wire.closed:
            break
        connection.data_received(data[start : start + size])
    told = repr(call.exception() or call.result()) if call.done() else "waiting"
    if not call.done():
        call.cancel()
    if not wire.closed:
        connection.abort()
    connection.connection_lost(None)
    return ("answered" if told.startswith("Upstream") else told.split("(")[0]), told


class _Model(Channel):
    def __init__(self) -> None:
        super().__init__(NOWHERE)

    def begin(self, block: Any, chunks: Any, deadline: float, done: Any) -> bool:
        answer = PredictAnswer()
        answer.model_spec.name, answer.model_spec.version.value = hashlib.sha256(b"".join(chunks)).hexdigest(), 7
        body = answer.SerializeToString()
        ok = ((b"grpc-status", b"0"),)
        done(UpstreamResponse(((b":status", b"200"),), b"\0" + len(body).to_bytes(4, "big") + body, ok), None)
        return True


class _RestModel(RestUpstream):
    def __init__(self) -> None:
        super().__init__(NOWHERE)

    async def request(self, method: str, target: str, headers: Any, body: bytes, *, timeout: float) -> Answer:
        return Answer(200, (), hashlib.sha256(body).hexdigest().encode())


class _Client:
    """Who asks."""

    peer = ("127.0.0.1", 2)

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def reply(self, request: Request, answer: Answer) -> None:
        self.answers.append(answer)


class Service:
    """A whole request over either protocol: always one answer, always one outcome, nothing held afterwards."""

    def __init__(self, *, rest: bool) -> None:
        self._rest = rest
        self._desk = _LOOP.run_until_complete(self._made())

    async def _made(self) -> Desk:
        sidecar = Sidecar(Settings(IDENTITY, NOWHERE, NOWHERE))  # never started: no sockets
        sidecar.availability.version = 7
        self._pipeline = sidecar.pipeline
        sidecar._grpc.channel, sidecar._rest.upstream = _Model(), _RestModel()
        return sidecar._rest_desk if self._rest else sidecar._grpc_desk

    def __call__(self, data: bytes) -> str:
        return _LOOP.run_until_complete(self._asked(data))

    async def _asked(self, data: bytes) -> str:
        head, _, body = data.partition(b"\n")
        measures, client = self._pipeline.measures, _Client()
        before = measures.grpc.outcomes + measures.rest.outcomes
        request = Request(self._desk, self._head(head), client)
        for start in range(0, len(body), 100):
            request.add(body[start : start + 100])
        request.complete()
        while not client.answers:  # noqa: ASYNC110 - whatever answers it
            await asyncio.sleep(0)
        assert measures.grpc.outcomes + measures.rest.outcomes == before + 1
        assert measures.body_bytes == 0 == self._pipeline.limiter.in_flight == measures.active
        (answer,) = client.answers
        return str(answer.status) if self._rest else answer.trailers[0][1].decode()

    def _head(self, told: bytes) -> Head:
        headers = ((b"content-type", b"application/grpc"), (b"grpc-timeout", told))
        if self._rest:
            return Head("POST", told.decode("latin-1"), b"", headers)
        methods = sorted(METHODS)
        path = methods[told[0] % len(methods)] if told else PREDICT
        return GrpcHead(((b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), *headers))


def of_answers(data: bytes) -> str:
    """Answers that a shadow compares."""
    told = "unreadable"
    for read in (lambda: outputs.of_grpc(data), lambda: outputs.of_rest(data)):
        try:
            read()
            told = "read"
        except outputs.Unreadable:
            continue
    return told


def of_record(data: bytes) -> str:
    """Records of the lower tiers, with a digest that is right: whoever can write there can make one."""
    content = data[: record._PREFIX.size].ljust(record._PREFIX.size, b"\0") + data[record._PREFIX.size :]
    try:
        record.decode(content[4:36], content + blake3.blake3(content).digest(), now=0.0)
    except record.Spoiled:
        return "spoiled"
    return "read"


def of_texts(data: bytes) -> str:
    """The small texts: sidecar.json, the server's status, timeouts and codes."""
    availability.parse(200, data)
    availability.parse(500, data)
    timeout = grpc_codes.parse_timeout(data)
    assert timeout is None or timeout >= 0
    grpc_codes.name(data)
    try:
        Tunables.from_json(data)
    except ValidationError:
        return "refused"
    return "tunables"


def targets() -> tuple[Target, ...]:
    """All of them, new."""
    grpc, rest, tensors = seeds.requests("grpc"), seeds.requests("rest"), seeds.tensors()
    json_pieces = (
        b'"inputs"',
        b'"instances"',
        b'"signature_name"',
        b"NaN",
        b"[[",
        b"]]",
        b"1e999",
        b"[" * 2000,
        b"\\ud800",
        b'{"b64":',
    )
    proto_pieces = (b"\x0a\x01m", b"\x12\x05", b"\x1a\x01a", b"\x08\x01", b"\x22\x04", b"\x2d\0\0\xc0\x7f", b"\xff" * 9)
    framed = tuple(bytes([i]) + b"\n\0" + len(message).to_bytes(4, "big") + message for i, message in enumerate(grpc))
    paths = (b"/v1/models/m:predict", b"/v1/models/m/versions/7:predict", b"/v1/models/m/labels/a:predict", b"/")
    posted = tuple(paths[i % 4] + b"\n" + body for i, body in enumerate(rest))
    texts = (b'{"cache": {"mode": "Auto"}, "concurrency": {"limit": 3}}', b"10S", b"99999999n", b"14")
    status = b'{"model_version_status": [{"version": "3", "state": "AVAILABLE", "status": {}}]}'
    return (
        Target("predict", Predict(), grpc, proto_pieces, seeds.a_request),
        Target("json", Json(), rest, json_pieces),
        Target("outline", of_outline, (*grpc, *seeds.long_requests()), proto_pieces, seeds.a_request),
        Target("tensor", of_tensor, tensors, proto_pieces),
        Target("named", of_named, grpc, proto_pieces),
        Target("frames", of_frames, seeds.conversations(), (b"\0\0\1", b"\0\0\0\4\1\0\0\0\0", b"\x3f\xe1\xff\x03")),
        Target("grpc", Service(rest=False), framed, proto_pieces),
        Target("rest", Service(rest=True), posted, (*json_pieces, *paths)),
        Target("http2", wire.Talk(_LOOP), wire.seeds(), wire.PIECES, wire.a_talk),
        Target("http1", talks.Talk(_LOOP), talks.seeds(), talks.PIECES, talks.a_talk),
        Target("answers", of_answers, seeds.answers(), (*proto_pieces, *json_pieces)),
        Target("record", of_record, seeds.records(), (b"[" * 2000, b"null", b"mpc\x01")),
        Target("texts", of_texts, (*texts, status, status.replace(b"{}", b"1")), json_pieces),
    )
