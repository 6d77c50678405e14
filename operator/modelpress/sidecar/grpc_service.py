"""gRPC as the sidecar speaks it: Predict through the cache, other calls to the model in line, no administration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from google.protobuf.message import DecodeError

from modelpress.api.grpc_code import GrpcCode
from modelpress.sidecar import grpc_codes, observation
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.body import Bodies, Chunks, Receive, Scope, Send
from modelpress.sidecar.channel import Channel
from modelpress.sidecar.farewell import Connections
from modelpress.sidecar.grpc_codes import HEADERS, OK_TRAILERS
from modelpress.sidecar.grpc_question import GrpcQuestion
from modelpress.sidecar.measures import Protocol
from modelpress.sidecar.observation import Observer
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.question import Question
from modelpress.sidecar.reason import Bypass, Refusal, Refused
from modelpress.sidecar.template import Templates
from modelpress.sidecar.wire_pb2 import HealthCheckRequest

PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Kind(Enum):
    """How a method is treated."""

    CACHED = auto()
    LIMITED = auto()
    FREE = auto()
    HEALTH = auto()
    DENIED = auto()
    UNKNOWN = auto()


METHODS = {
    PREDICT: Kind.CACHED,
    "/tensorflow.serving.PredictionService/Classify": Kind.LIMITED,
    "/tensorflow.serving.PredictionService/Regress": Kind.LIMITED,
    "/tensorflow.serving.PredictionService/MultiInference": Kind.LIMITED,
    "/tensorflow.serving.PredictionService/GetModelMetadata": Kind.FREE,
    "/tensorflow.serving.ModelService/GetModelStatus": Kind.FREE,
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest": Kind.DENIED,
    "/grpc.health.v1.Health/Check": Kind.HEALTH,
}
"""All that TF Serving offers. What is not here does not reach it: a newer server might offer more administration."""

DENIED = ("/tensorflow.ProfilerService/", "/grpc.reflection.")
HEALTH_SERVICES = frozenset(
    {"", "ModelService", "PredictionService", "tensorflow.serving.ModelService", "tensorflow.serving.PredictionService"}
)
SERVING, NOT_SERVING = b"\x00\x00\x00\x00\x02\x08\x01", b"\x00\x00\x00\x00\x02\x08\x02"


def kind_of(path: str) -> Kind:
    """The treatment of a method by its path."""
    found = METHODS.get(path)
    if found is not None:
        return found
    return Kind.DENIED if path.startswith(DENIED) else Kind.UNKNOWN


class GrpcService:
    """An ASGI endpoint for requests of content type application/grpc."""

    def __init__(
        self,
        pipeline: Pipeline,
        channel: Channel,
        bodies: Bodies,
        serving: Callable[[], bool],
        connections: Connections,
    ) -> None:
        self.pipeline = pipeline
        self.channel = channel
        self._bodies = bodies
        self._serving = serving
        self.connections = connections
        self._counts = pipeline.measures.grpc
        self.observer: Observer | None = None
        self.now = asyncio.get_running_loop().time
        self._version: int | None = None
        self._templates = Templates()

    def templates(self, version: int) -> Templates:
        """The forms of requests that were seen, as long as the same version answers."""
        if version != self._version:
            self._version, self._templates = version, Templates()
        return self._templates

    def question(self, path: str, body: bytes) -> Question:
        """A call that no client waits for; `body` begins with gRPC's prefix."""
        scope: Scope = {"path": path, "headers": list(HEADERS)}
        return self._question(METHODS[path], scope, [body], self.now(), compressed=bool(body[:1] != b"\0"))

    def _question(self, kind: Kind, scope: Scope, chunks: Chunks, arrived: float, *, compressed: bool) -> GrpcQuestion:
        if kind is Kind.CACHED:
            bypass = Bypass.COMPRESSED if compressed else None
            return GrpcQuestion(self, scope, chunks, arrived, bypass=bypass)
        runs_model = kind is not Kind.FREE
        return GrpcQuestion(self, scope, chunks, arrived, runs_model=runs_model, bypass=Bypass.NOT_CACHEABLE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["client"] not in self.connections.seen:
            self.connections.heard(scope["client"])
        if self.observer is not None:
            await self._observed(scope, receive, send, self.observer)
            return
        code, answer = await self._answer(scope, receive, self._counts)
        self._counts.responses[code] += 1
        await respond(answer, send)

    async def fail(self, send: Send) -> None:
        """The answer where we are at fault."""
        self._counts.responses["INTERNAL"] += 1
        await respond(grpc_codes.failure(GrpcCode.INTERNAL, "Internal error of the sidecar"), send)

    async def _observed(self, scope: Scope, receive: Receive, send: Send, observer: Observer) -> None:
        recorder, counts = observation.recorder(self._counts)
        code, answer = await self._answer(scope, receive, counts)
        self._counts.responses[code] += 1
        try:
            await respond(answer, send)
        finally:
            observer(recorder.observed("grpc", scope, code, len(answer.body)))

    async def _answer(self, scope: Scope, receive: Receive, counts: Protocol) -> tuple[str, Answer]:
        """The name of the gRPC code, and the answer."""
        kind = kind_of(scope["path"])
        length = 0
        try:
            if kind is Kind.DENIED or kind is Kind.UNKNOWN:
                answer = self._refuse(kind, scope["path"], counts)
            else:
                arrived = self.now()
                chunks, length = await self._bodies.read(receive, counts)
                if kind is Kind.HEALTH:
                    answer = self._health(b"".join(chunks)[5:], counts)
                else:
                    compressed = self._is_compressed(chunks, length, counts)
                    question = self._question(kind, scope, chunks, arrived, compressed=compressed)
                    begun = self.pipeline.begin(question, counts)
                    answer = begun if isinstance(begun, Answer) else await begun
        except Refused as refused:
            answer = grpc_codes.refusal(refused)
        finally:
            self._bodies.release(length)
        return "OK" if answer.trailers is OK_TRAILERS else grpc_codes.status(answer), answer

    def _is_compressed(self, chunks: Chunks, length: int, counts: Protocol) -> bool:
        """The flag of the one message that a call must have; raises Refused."""
        prefix = chunks[0] if chunks and len(chunks[0]) >= 5 else b"".join(chunks)[:5]
        if len(prefix) < 5 or prefix[0] > 1 or int.from_bytes(prefix[1:5], "big") != length - 5:
            counts.refused[Refusal.MALFORMED] += 1
            raise Refused(Refusal.MALFORMED, "The request is not exactly one gRPC message")
        return bool(prefix[0])

    def _refuse(self, kind: Kind, path: str, counts: Protocol) -> Answer:
        if kind is Kind.UNKNOWN:
            counts.refused[Refusal.UNIMPLEMENTED] += 1
            return grpc_codes.failure(GrpcCode.UNIMPLEMENTED, "")
        counts.refused[Refusal.DENIED] += 1
        return grpc_codes.failure(GrpcCode.PERMISSION_DENIED, f"{path} is not open to clients of this model")

    def _health(self, message: bytes, counts: Protocol) -> Answer:
        counts.bypassed[Bypass.NOT_CACHEABLE] += 1
        try:
            service = HealthCheckRequest.FromString(message).service
        except DecodeError:
            return grpc_codes.failure(GrpcCode.INTERNAL, "The request could not be parsed")
        if service not in HEALTH_SERVICES:
            return grpc_codes.failure(GrpcCode.NOT_FOUND, "unknown service")
        return Answer(200, HEADERS, SERVING if self._serving() else NOT_SERVING, OK_TRAILERS)


_KEPT_START = {"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": True}
_KEPT_END = {"type": "http.response.trailers", "headers": OK_TRAILERS, "more_trailers": False}


async def respond(answer: Answer, send: Send) -> None:
    """Sends a gRPC answer; its status always comes in trailers."""
    status, headers, body, trailers = answer
    kept = headers is HEADERS
    await send(_KEPT_START if kept else {**_KEPT_START, "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    await send(_KEPT_END if trailers is OK_TRAILERS else {**_KEPT_END, "headers": trailers})
