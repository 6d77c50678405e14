"""gRPC as the sidecar speaks it: Predict through the cache, other calls to the model in line, no administration."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from modelpress.api.grpc_code import GrpcCode
from modelpress.sidecar import grpc_codes, key, observation
from modelpress.sidecar.answer import HOP_BY_HOP, Answer
from modelpress.sidecar.body import Bodies, Receive, Scope, Send
from modelpress.sidecar.channel import Channel, Unavailable
from modelpress.sidecar.farewell import Connections
from modelpress.sidecar.grpc_codes import OK_TRAILERS
from modelpress.sidecar.headers import Headers, encode, literal
from modelpress.sidecar.measures import Protocol
from modelpress.sidecar.observation import CONTEXT, Observer
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.popular import Asked
from modelpress.sidecar.question import Question, Reply
from modelpress.sidecar.reason import Bypass, Refusal, Refused
from modelpress.sidecar.rollout.backend import TRIAL, Backend
from modelpress.sidecar.stream import Reset, UpstreamResponse
from modelpress.sidecar.wire_pb2 import HealthCheckRequest, ModelSpec, Named, NamedTasks, PredictResponse

if TYPE_CHECKING:
    from modelpress.sidecar.rollout.outputs import Outputs

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CONTENT_TYPE = (b"content-type", b"application/grpc")
HEADERS = (CONTENT_TYPE,)


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

_NOT_FORWARDED = HOP_BY_HOP | {b"host", b"content-type", b"content-length", b"grpc-timeout", b"grpc-accept-encoding"}


def kind_of(path: str) -> Kind:
    """The treatment of a method by its path."""
    found = METHODS.get(path)
    if found is not None:
        return found
    return Kind.DENIED if path.startswith(DENIED) else Kind.UNKNOWN


class GrpcQuestion(Question):
    """A unary call that was read whole: `chunks` begin with gRPC's five-byte prefix."""

    def __init__(
        self, service: GrpcService, scope: Scope, chunks: list[bytes], arrived: float, *, compressed: bool
    ) -> None:
        self.method = "grpc/Predict"
        self.chunks = chunks
        self._service = service
        self._scope = scope
        self._arrived = arrived
        self._deadline: float | None = None
        kind = METHODS[scope["path"]]
        self.runs_model = kind is not Kind.FREE
        if kind is not Kind.CACHED:
            self.bypass = Bypass.NOT_CACHEABLE
        elif compressed:
            self.bypass = Bypass.COMPRESSED

    @property
    def deadline(self) -> float:
        """The client's, or the server's request timeout, whichever is earlier."""
        if self._deadline is None:
            self._deadline = self._due()
        return self._deadline

    def _due(self) -> float:
        limit = self._service.pipeline.tunables.request_timeout_seconds
        sent = next((value for name, value in self._scope["headers"] if name == b"grpc-timeout"), None)
        asked = None if sent is None else grpc_codes.parse_timeout(sent)
        return self._arrived + (limit if asked is None else min(asked, limit))

    def canonical(self, version: int) -> bytes:
        message = b"".join(self.chunks)[5:]
        pipeline = self._service.pipeline
        return key.predict(pipeline.identity, version, message, largest=pipeline.tunables.max_body_bytes)

    def asked(self) -> Asked | None:
        return Asked("grpc", self._scope["path"], b"".join(self.chunks))

    @property
    def stays(self) -> bool:
        if any(name == TRIAL[0] for name, _ in self._scope["headers"]):
            return True
        named = named_model(self._scope["path"], b"".join(self.chunks)[5:])
        return named is None or named.name != self._service.pipeline.identity.model or is_versioned(named)

    @property
    def comparable(self) -> bool:
        return self.bypass is None

    def outputs(self, answer: Answer) -> Outputs:
        from modelpress.sidecar.rollout import outputs  # brings numpy, which nobody else needs

        return outputs.of_grpc(answer.body)

    async def ask_at(self, backend: Backend, deadline: float) -> Answer:
        return await self._exchange(backend.channel, deadline, TRIAL)

    async def _exchange(self, channel: Channel, deadline: float, *more: tuple[bytes, bytes]) -> Answer:
        try:
            response = await channel.call(self._block(deadline, more), self.chunks, deadline)
        except (TimeoutError, Unavailable, Reset) as error:
            return _failed(error)
        return grpc_codes.answer(response)

    def begin(self, version: int | None, done: Callable[[Reply | None, BaseException | None], None]) -> None:
        """Without a task of its own while there is a connection."""

        def ended(response: UpstreamResponse | None, error: Exception | None) -> None:
            if response is not None:
                done(self._reply(version, grpc_codes.answer(response)), None)
            elif isinstance(error, (TimeoutError, Reset)):
                done(Reply(_failed(error)), None)
            else:
                super(GrpcQuestion, self).begin(version, done)

        if not self._service.channel.begin(self._block(self.deadline, ()), self.chunks, self.deadline, ended):
            super().begin(version, done)

    async def ask(self, version: int | None) -> Reply:
        return self._reply(version, await self._exchange(self._service.channel, self.deadline))

    def _reply(self, version: int | None, answer: Answer) -> Reply:
        if version is None or not self._service.answers_for(version, answer):
            return Reply(answer)
        return Reply(answer, Answer(200, HEADERS, answer.body, OK_TRAILERS))

    def _block(self, deadline: float, more: Headers) -> bytes:
        left = deadline - asyncio.get_running_loop().time()
        return self._head(more) + literal(b"grpc-timeout", grpc_codes.format_timeout(left))

    def _head(self, more: Headers) -> bytes:
        headers = self._scope["headers"]
        custom, own = list(more), b""
        for name, value in headers:
            if name in CONTEXT:
                own += literal(name, value)  # another one in each request: not for the memo of blocks
            elif name not in _NOT_FORWARDED and name[:1] != b":":
                custom.append((name, value))
        content_type = next(value for name, value in headers if name == b"content-type")
        return _block(self._scope["path"].encode(), content_type, tuple(custom)) + own


def _failed(error: Exception) -> Answer:
    """How a call that got no response is told."""
    if isinstance(error, TimeoutError):
        return grpc_codes.failure(GrpcCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    code = grpc_codes.of_reset(error.code) if isinstance(error, Reset) else GrpcCode.UNAVAILABLE
    return grpc_codes.failure(code, str(error))


def named_model(path: str, message: bytes) -> ModelSpec | None:
    """The model that a request to any method of PredictionService names, None where that cannot be told."""
    try:
        if not path.endswith("/MultiInference"):
            return Named.FromString(message).model_spec
        tasks = NamedTasks.FromString(message).tasks
    except DecodeError:
        return None
    specs = [task.model_spec for task in tasks]
    return next((spec for spec in specs if is_versioned(spec)), specs[0]) if specs else None


def is_versioned(spec: ModelSpec) -> bool:
    """Whether a version or a label is named."""
    return spec.WhichOneof("version_choice") is not None


@functools.lru_cache(maxsize=512)
def _block(path: bytes, content_type: bytes, custom: Headers) -> bytes:
    return encode(
        (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"localhost"),
            (b"content-type", content_type),
            (b"te", b"trailers"),
            *custom,
        )
    )


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

    def question(self, path: str, body: bytes) -> Question:
        """A call that no client waits for; `body` begins with gRPC's prefix."""
        scope: Scope = {"path": path, "headers": [CONTENT_TYPE]}
        return GrpcQuestion(self, scope, [body], asyncio.get_running_loop().time(), compressed=bool(body[:1] != b"\0"))

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
        try:
            answer = await self._read(scope, receive, counts)
        except Refused as refused:
            answer = grpc_codes.refusal(refused)
        return "OK" if answer.trailers is OK_TRAILERS else grpc_codes.status(answer), answer

    async def _read(self, scope: Scope, receive: Receive, counts: Protocol) -> Answer:
        kind = kind_of(scope["path"])
        if kind is Kind.DENIED or kind is Kind.UNKNOWN:
            return self._refuse(kind, scope["path"], counts)
        arrived = asyncio.get_running_loop().time()
        chunks, length = await self._bodies.read(receive, counts)
        try:
            if kind is Kind.HEALTH:
                return self._health(b"".join(chunks)[5:], counts)
            compressed = self._is_compressed(chunks, length, counts)
            return await self.pipeline.answer(GrpcQuestion(self, scope, chunks, arrived, compressed=compressed), counts)
        finally:
            self._bodies.release(length)

    def _is_compressed(self, chunks: list[bytes], length: int, counts: Protocol) -> bool:
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

    def answers_for(self, version: int, answer: Answer) -> bool:
        """Whether an answer may be kept: one successful, plain message from the version that we asked."""
        body = answer.body
        if (
            answer.trailers[:1] != OK_TRAILERS
            or len(body) < 5
            or body[0]
            or int.from_bytes(body[1:5], "big") != len(body) - 5
        ):
            return False
        try:
            if PredictResponse.FromString(body[5:]).model_spec.version.value == version:
                return True
        except DecodeError:
            return False
        self.pipeline.availability.suspect()
        return False


_KEPT_START = {"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": True}
_KEPT_END = {"type": "http.response.trailers", "headers": OK_TRAILERS, "more_trailers": False}


async def respond(answer: Answer, send: Send) -> None:
    """Sends a gRPC answer; its status always comes in trailers."""
    status, headers, body, trailers = answer
    kept = headers is HEADERS
    await send(_KEPT_START if kept else {**_KEPT_START, "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    await send(_KEPT_END if trailers is OK_TRAILERS else {**_KEPT_END, "headers": trailers})
