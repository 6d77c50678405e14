"""gRPC as the sidecar speaks it: Predict through the cache, other calls to the model in line, no administration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from google.protobuf.message import DecodeError

from modelpress.api.grpc_code import GrpcCode
from modelpress.sidecar import grpc_codes, grpc_head
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.body import Chunks
from modelpress.sidecar.channel import Channel
from modelpress.sidecar.grpc_codes import HEADERS, OK_TRAILERS
from modelpress.sidecar.grpc_head import GrpcHead, Kind
from modelpress.sidecar.grpc_question import GrpcQuestion
from modelpress.sidecar.head import Head
from modelpress.sidecar.measures import Protocol
from modelpress.sidecar.observation import Observer
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.question import Question
from modelpress.sidecar.reason import Bypass, Refusal, Refused
from modelpress.sidecar.request import Request
from modelpress.sidecar.template import Templates
from modelpress.sidecar.wire_pb2 import HealthCheckRequest

HEALTH_SERVICES = frozenset(
    {"", "ModelService", "PredictionService", "tensorflow.serving.ModelService", "tensorflow.serving.PredictionService"}
)
SERVING, NOT_SERVING = b"\x00\x00\x00\x00\x02\x08\x01", b"\x00\x00\x00\x00\x02\x08\x02"


_FOREIGN = b"This port speaks gRPC: POST with a content-type of application/grpc\n"


class GrpcService:
    """Answers calls that have been read whole."""

    protocol = "grpc"

    def __init__(self, pipeline: Pipeline, channel: Channel, serving: Callable[[], bool]) -> None:
        self.pipeline = pipeline
        self.channel = channel
        self._serving = serving
        self.counts = pipeline.measures.grpc
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
        return self._question(grpc_head.of_path(path), [body], self.now(), compressed=bool(body[0]))

    def begin(self, request: Request) -> Answer | Awaitable[Answer]:
        head = cast(GrpcHead, request.head)
        kind, counts = head.kind, request.counts
        if kind is Kind.DENIED or kind is Kind.UNKNOWN or kind is Kind.FOREIGN:
            return self._refuse(kind, head.path, counts)
        chunks = request.body.chunks
        if kind is Kind.HEALTH:
            return self._health(b"".join(chunks)[5:], counts)
        compressed = self._is_compressed(chunks, request.body.length, counts)
        question = self._question(head, chunks, request.arrived, compressed=compressed)
        question.hashed = request.body.digest
        return self.pipeline.begin(question, counts)

    def is_keyed(self, head: Head) -> bool:
        """Predict, unless nothing is kept."""
        return cast(GrpcHead, head).kind is Kind.CACHED and self.pipeline.keeps

    def refusal(self, refused: Refused) -> Answer:
        return grpc_codes.refusal(refused)

    def failure(self) -> Answer:
        return grpc_codes.failure(GrpcCode.INTERNAL, "Internal error of the sidecar")

    def code(self, answer: Answer) -> str:
        """The name of a gRPC code; what is no gRPC at all has that of HTTP."""
        if answer.trailers is OK_TRAILERS:
            return "OK"
        return grpc_codes.status(answer) if answer.trailers else str(answer.status)

    def _question(self, head: GrpcHead, chunks: Chunks, arrived: float, *, compressed: bool) -> GrpcQuestion:
        if head.kind is Kind.CACHED:
            bypass = Bypass.COMPRESSED if compressed else None
            return GrpcQuestion(self, head, chunks, arrived, bypass=bypass)
        runs_model = head.kind is not Kind.FREE
        return GrpcQuestion(self, head, chunks, arrived, runs_model=runs_model, bypass=Bypass.NOT_CACHEABLE)

    def _is_compressed(self, chunks: Chunks, length: int, counts: Protocol) -> bool:
        """The flag of the one message that a call must have; raises Refused."""
        prefix = chunks[0] if chunks and len(chunks[0]) >= 5 else b"".join(chunks)[:5]
        if len(prefix) < 5 or prefix[0] > 1 or int.from_bytes(prefix[1:5], "big") != length - 5:
            counts.refused[Refusal.MALFORMED] += 1
            raise Refused(Refusal.MALFORMED, "The request is not exactly one gRPC message")
        return bool(prefix[0])

    def _refuse(self, kind: Kind, path: str, counts: Protocol) -> Answer:
        if kind is Kind.FOREIGN:
            counts.refused[Refusal.UNIMPLEMENTED] += 1
            return Answer(415, ((b"content-type", b"text/plain"),), _FOREIGN)
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
