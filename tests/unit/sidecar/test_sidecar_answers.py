"""With the cache every answer is what it would be without: ten thousand pairs for each thing that can differ.

The model behind the sidecar answers with a digest of what the request means: two requests that mean another thing have
other answers. Each request is asked through the whole pipeline (both levels of keys, memory, single-flight) and the
answer is compared with that of the model itself. Then the same without one component of the key at a time: that such a
mutant is found shows that the test can fail.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from modelpress.sidecar import json_key, key, tensor
from modelpress.sidecar.address import Address
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.channel import Channel
from modelpress.sidecar.grpc_head import PREDICT
from modelpress.sidecar.grpc_service import GrpcService
from modelpress.sidecar.head import Head
from modelpress.sidecar.key import Identity, Part
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.process import Settings, Sidecar
from modelpress.sidecar.rest_service import RestService
from modelpress.sidecar.rest_upstream import RestUpstream
from modelpress.sidecar.stream import UpstreamResponse
from modelpress.sidecar.wire_pb2 import PredictRequest, PredictResponse, Tensor

PAIRS = 10_000
NOWHERE = Address("127.0.0.1", 1)
WEIGHTS = {"sha256:" + letter * 64: letter for letter in "ab"}
OLD, NEW = WEIGHTS
SIZED = {dtype: kind.size for dtype, kind in tensor.KINDS.items()}
SAME_SIZE = {dtype: [other for other in SIZED if SIZED[other] == SIZED[dtype] != 16] for dtype in SIZED}


class Case(NamedTuple):
    """A request and the world that it meets."""

    inputs: tuple[tuple[str, int, tuple[int, ...], bytes], ...]
    outputs: tuple[str, ...] = ()
    signature: str = "serving_default"
    version: int = 7
    artifact: str = OLD
    model: str = "m"


def meaning(message: bytes) -> tuple[Any, ...]:
    """What a PredictRequest asks, read by the protobuf library and nothing of ours."""
    asked = PredictRequest.FromString(message)
    inputs = sorted(
        (name, value.dtype, tuple(dim.size for dim in value.tensor_shape.dim), value.tensor_content)
        for name, value in asked.inputs.items()
    )
    spec = asked.model_spec
    return spec.name, spec.signature_name or "serving_default", inputs, sorted(asked.output_filter)


class Model(Channel):
    """Answers at once with a digest of what it is asked, of its weights and of its version."""

    def __init__(self) -> None:
        super().__init__(NOWHERE)
        self.case = Case(())
        self.calls = 0
        self._last: tuple[Any, ...] = ()
        self._answer = b""

    def answer(self, message: bytes) -> bytes:
        asked = message, self.case.artifact, self.case.version
        if asked != self._last:
            self._last, self._answer = asked, self._made(message)
        return self._answer

    def _made(self, message: bytes) -> bytes:
        told = repr((meaning(message), self.case.artifact, self.case.version)).encode()
        response = PredictResponse()
        response.model_spec.name = hashlib.sha256(told).hexdigest()
        response.model_spec.version.value = self.case.version
        found = response.SerializeToString()
        return b"\0" + len(found).to_bytes(4, "big") + found

    def begin(self, block, chunks, deadline, done) -> bool:
        self.calls += 1
        status = ((b"grpc-status", b"0"),)
        headers = ((b":status", b"200"), (b"content-type", b"application/grpc"))
        done(UpstreamResponse(headers, self.answer(b"".join(chunks)[5:]), status), None)
        return True


class RestModel(RestUpstream):
    """The same for JSON: the meaning is the parsed value, with numbers as they are written."""

    def __init__(self) -> None:
        super().__init__(NOWHERE)
        self.case: RestCase = RestCase("")
        self.calls = 0

    def answer(self, body: bytes, headers: Any) -> bytes:
        document = json.loads(
            body, parse_int=lambda text: ("number", text), parse_float=lambda text: ("number", text)
        )  # fmt: skip
        origin = next((value for name, value in headers if name == b"origin"), b"")
        told = repr((sorted(document.items()), origin, self.case.artifact, self.case.version))
        return hashlib.sha256(told.encode()).hexdigest().encode()

    async def request(self, method, target, headers, body, *, timeout):
        self.calls += 1
        return Answer(200, (), self.answer(body, headers))


async def of(begun: Answer | Awaitable[Answer]) -> Answer:
    return begun if isinstance(begun, Answer) else await begun


class World:
    """Sidecars of every artifact that share one memory, as those that share a Redis do; one loop, no sockets."""

    def __init__(self) -> None:
        self.model, self.rest_model = Model(), RestModel()
        self._sides: dict[tuple[str, str], tuple[Pipeline, GrpcService, RestService]] = {}

    def side(self, artifact: str, model: str) -> tuple[Pipeline, GrpcService, RestService]:
        found = self._sides.get((artifact, model))
        if found is None:
            sidecar = Sidecar(Settings(Identity(model, artifact), NOWHERE, NOWHERE))  # never started: no sockets
            sidecar._grpc.channel, sidecar._rest.upstream = self.model, self.rest_model
            pipeline = sidecar.pipeline
            found = pipeline, sidecar._grpc, sidecar._rest
            first = next(iter(self._sides.values()), found)[0]
            pipeline.memory, pipeline.keys.memo = first.memory, first.keys.memo
            self._sides[artifact, model] = found
        return found

    async def ask(self, case: Case, message: bytes) -> bool:
        """Whether the answer is the model's own."""
        pipeline, service, _ = self.side(case.artifact, case.model)
        pipeline.availability.version = case.version
        self.model.case = case
        question = service.question(PREDICT, b"\0" + len(message).to_bytes(4, "big") + message)
        answer = await of(pipeline.begin(question, pipeline.measures.grpc))
        return answer.body == self.model.answer(message)

    async def ask_rest(self, case: RestCase) -> bool:
        pipeline, _, service = self.side(case.artifact, case.model)
        pipeline.availability.version = case.version
        self.rest_model.case = case
        question = service.question(f"/v1/models/{case.model}:predict", case.body)
        head = Head("POST", question._head.path, b"", case.headers)
        question = type(question)(service, head, [case.body], 1e12)
        answer = await of(pipeline.begin(question, pipeline.measures.rest))
        return answer.body == self.rest_model.answer(case.body, case.headers)


def serialized(case: Case) -> bytes:
    request = PredictRequest(output_filter=case.outputs)
    request.model_spec.name, request.model_spec.signature_name = case.model, case.signature
    for name, dtype, shape, content in case.inputs:
        made = Tensor(dtype=dtype, tensor_content=content)
        made.tensor_shape.SetInParent()
        for size in shape:
            made.tensor_shape.dim.add(size=size)
        request.inputs[name].CopyFrom(made)
    return request.SerializeToString()


def cases(number: int, seed: int) -> Iterator[Case]:
    """All different; with one or two inputs of any plain dtype but complex128, whose size no other has."""
    chance = np.random.default_rng(seed)
    dtypes = [dtype for dtype in SIZED if SIZED[dtype] != 16]
    for index in range(number):
        inputs = []
        for name in ("x", "y")[: chance.integers(1, 3)]:
            dtype = dtypes[chance.integers(len(dtypes))]
            shape = tuple(int(size) for size in chance.integers(1, 4, chance.integers(1, 4)))
            content = index.to_bytes(4, "little") + chance.bytes(SIZED[dtype] * int(np.prod(shape)))
            inputs.append((name, dtype, shape, content[-SIZED[dtype] * int(np.prod(shape)) :]))
        outputs = ("a", "b", "c")[: chance.integers(0, 3)]
        yield Case(tuple(inputs), outputs, signature=f"s{index}", version=int(chance.integers(1, 99)))


def first(case: Case, **changes: Any) -> Case:
    """Another first input."""
    name, dtype, shape, content = case.inputs[0]
    fields = {"name": name, "dtype": dtype, "shape": shape, "content": content, **changes}
    return case._replace(inputs=(tuple(fields.values()), *case.inputs[1:]))


def other_shape(case: Case, chance: np.random.Generator) -> Case:
    _, _, shape, _ = case.inputs[0]
    forms = [(*shape, 1), (1, *shape), (int(np.prod(shape)),), shape[::-1]]
    return first(case, shape=forms[next(i for i in chance.permutation(4) if forms[i] != shape)])


def other_dtype(case: Case, chance: np.random.Generator) -> Case:
    dtype = case.inputs[0][1]
    others = [other for other in SAME_SIZE[dtype] if other != dtype]
    return first(case, dtype=others[chance.integers(len(others))])


def other_outputs(case: Case, chance: np.random.Generator) -> Case:
    return case._replace(outputs=(*case.outputs, "d") if chance.integers(2) or not case.outputs else case.outputs[1:])


def other_signature(case: Case, chance: np.random.Generator) -> Case:
    return case._replace(signature=case.signature + "xyz"[chance.integers(3)])


def other_version(case: Case, chance: np.random.Generator) -> Case:
    return case._replace(version=case.version + int(chance.integers(1, 9)))


def other_bit(case: Case, chance: np.random.Generator) -> Case:
    content = bytearray(case.inputs[0][3])
    bit = int(chance.integers(len(content) * 8))
    content[bit // 8] ^= 1 << bit % 8
    return first(case, content=bytes(content))


def other_artifact(case: Case, chance: np.random.Generator) -> Case:
    return case._replace(artifact=NEW)


def other_model(case: Case, chance: np.random.Generator) -> Case:
    return case._replace(model="n")


def other_name(case: Case, chance: np.random.Generator) -> Case:
    return first(case, name="z")


Change = Callable[[Case, np.random.Generator], Case]
CHANGES: tuple[Change, ...] = (
    other_shape,
    other_dtype,
    other_outputs,
    other_signature,
    other_version,
    other_bit,
    other_artifact,
    other_model,
    other_name,
)


async def wrong(changes: tuple[Change, ...], pairs: int, *, world: World, seed: int = 1) -> Counter[str]:
    """Wrong answers by what differed: each base, then its variants, then the base once more."""
    found: Counter[str] = Counter()
    chance = np.random.default_rng(seed)
    for case in cases(pairs, seed):
        message = serialized(case)
        found["base"] += not await world.ask(case, message)
        for change in changes:
            other = change(case, chance)
            changed = message if other[:3] == case[:3] and other.model == case.model else serialized(other)
            found[change.__name__] += not await world.ask(other, changed)
        found["base again"] += not await world.ask(case, message)
    return +found


@pytest.mark.parametrize(
    ("changes", "pairs"), [(CHANGES[:6], PAIRS), (CHANGES[6:], PAIRS // 5)], ids=["the request", "the world"]
)
async def test_what_differs_in_one_thing_gets_its_own_answer(changes, pairs):
    world = World()
    assert await wrong(changes, pairs, world=world) == {}
    counts = [side[0].measures.grpc for side in world._sides.values()]
    assert sum(count.hits for count in counts) == pairs  # each base the second time, and nothing else
    assert world.model.calls == pairs * (1 + len(changes))


class RestCase(NamedTuple):
    """A REST request and the world that it meets."""

    value: str
    form: str = "instances"
    signature: str = "serving_default"
    more: str = ""
    version: int = 7
    artifact: str = OLD
    model: str = "m"
    origin: bytes = b""

    @property
    def body(self) -> bytes:
        return f'{{"signature_name": "{self.signature}", "{self.form}": {self.value}{self.more}}}'.encode()

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return [(b"origin", self.origin)] if self.origin else []


def rest_cases(number: int, seed: int) -> Iterator[RestCase]:
    chance = np.random.default_rng(seed)
    for index in range(number):
        values = chance.integers(0, 10**6, chance.integers(1, 5)).tolist()
        yield RestCase(json.dumps([[index, *values]]), ("instances", "inputs")[index % 2], version=index % 50 + 1)


REST_CHANGES: dict[str, Callable[[RestCase, np.random.Generator], RestCase]] = {
    "shape": lambda case, chance: case._replace(value=case.value[1:-1]),
    "dtype": lambda case, chance: case._replace(
        value=(case.value[:-2] + ".0]]", case.value.replace("[[", '[["').replace(",", '",', 1))[chance.integers(2)]
    ),
    "form": lambda case, chance: case._replace(form={"instances": "inputs", "inputs": "instances"}[case.form]),
    "signature": lambda case, chance: case._replace(signature="other"),
    "version": lambda case, chance: case._replace(version=case.version + 50),
    "digit": lambda case, chance: case._replace(value=case.value[:-2] + str(chance.integers(10)) + "]]"),
    "artifact": lambda case, chance: case._replace(artifact=NEW),
    "origin": lambda case, chance: case._replace(origin=b"http://there"),
    "more": lambda case, chance: case._replace(more=', "more": 1'),
}


async def rest_wrong(pairs: int, *, world: World, seed: int = 1) -> Counter[str]:
    found: Counter[str] = Counter()
    chance = np.random.default_rng(seed)
    for case in rest_cases(pairs, seed):
        found["base"] += not await world.ask_rest(case)
        for name, change in REST_CHANGES.items():
            found[name] += not await world.ask_rest(change(case, chance))
        found["base again"] += not await world.ask_rest(case)
    return +found


async def test_over_rest_what_differs_in_one_thing_gets_its_own_answer():
    world = World()
    pairs = PAIRS // 10
    assert await rest_wrong(pairs, world=world) == {}
    assert world.rest_model.calls == pairs * (1 + len(REST_CHANGES))


GRPC_PARTS = {
    Part.ARTIFACT: "other_artifact",
    Part.VERSION: "other_version",
    Part.SIGNATURE: "other_signature",
    Part.INPUT: "other_name",
    Part.DTYPE: "other_dtype",
    Part.SHAPE: "other_shape",
    Part.CONTENT: "other_bit",
    Part.OUTPUT: "other_outputs",
}
REST_PARTS = {
    Part.ARTIFACT: "artifact",
    Part.VERSION: "version",
    Part.SIGNATURE: "signature",
    Part.FORM: "form",
    Part.CONTENT: "digit",
    Part.BODY: "more",
    Part.ORIGIN: "origin",
}


def without(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of both levels that leave a component out."""
    whole = key.digest

    def mutant(parts: key.Parts) -> bytes:
        return whole([(tag, value) for tag, value in parts if tag is not part])

    monkeypatch.setattr(key, "digest", mutant)
    monkeypatch.setattr(json_key, "digest", mutant)


@pytest.mark.parametrize("part", GRPC_PARTS, ids=lambda part: part.name)
async def test_without_a_component_the_answers_to_just_such_pairs_are_wrong(part, monkeypatch):
    without(part, monkeypatch)
    assert GRPC_PARTS[part] in await wrong(CHANGES, 20, world=World())


@pytest.mark.parametrize("part", REST_PARTS, ids=lambda part: part.name)
async def test_over_rest_without_a_component_just_such_answers_are_wrong(part, monkeypatch):
    without(part, monkeypatch)
    assert REST_PARTS[part] in await rest_wrong(20, world=World())


@pytest.mark.parametrize(
    ("part", "left", "right"),
    [
        (Part.MODEL, ("m", "grpc/Predict"), ("n", "grpc/Predict")),
        (Part.METHOD, ("m", "grpc/Predict"), ("m", "rest/predict")),
    ],
)
def test_only_its_own_component_keeps_models_and_methods_apart(part, left, right, monkeypatch):
    def name(model: str, method: str) -> bytes:
        return key.digest(key.common(Identity(model, OLD), 7, method))

    assert name(*left) != name(*right)
    without(part, monkeypatch)
    assert name(*left) == name(*right)


@pytest.mark.parametrize("what", ["context", "body"])
async def test_a_first_level_that_leaves_something_out_gives_wrong_answers(what, monkeypatch):
    whole = key.Level1.digest

    def mutant(self: key.Level1, context: bytes, chunks: Any, hashed: Any = None) -> bytes:
        return whole(self, b"" if what == "context" else context, [b""] if what == "body" else chunks)

    monkeypatch.setattr(key.Level1, "digest", mutant)
    assert await rest_wrong(5, world=World()) != {}


def test_every_component_is_left_out_somewhere():
    assert set(GRPC_PARTS) | set(REST_PARTS) | {Part.MODEL, Part.METHOD} == set(Part)
    assert len(list(itertools.islice(cases(3, 1), 5))) == 3
