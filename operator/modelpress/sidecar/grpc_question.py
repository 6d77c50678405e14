"""A gRPC call as a question: its key, its deadline, and how the model server is asked."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from google.protobuf.message import DecodeError

from modelpress.api.grpc_code import GrpcCode
from modelpress.sidecar import grpc_codes, key, outline
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.channel import Channel, Unavailable
from modelpress.sidecar.grpc_codes import HEADERS, OK_TRAILERS
from modelpress.sidecar.grpc_head import GrpcHead
from modelpress.sidecar.headers import literal
from modelpress.sidecar.outline import Outline
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.popular import LARGEST_BODY, Asked
from modelpress.sidecar.question import Question, Reply
from modelpress.sidecar.reason import Bypass, Uncacheable
from modelpress.sidecar.rollout.backend import TRIAL, Backend
from modelpress.sidecar.stream import Reset, UpstreamResponse
from modelpress.sidecar.template import Templates
from modelpress.sidecar.wire_pb2 import ModelSpec, Named, NamedTasks, PredictResponse

if TYPE_CHECKING:
    from modelpress.sidecar.rollout.outputs import Outputs

_ROUND = 1000
"""Timeouts are sent on in units of 1/1000 s where that is precise enough, so that few differ."""

_SPEC, _ANSWERED_BY = 1, 2
"""The fields that name the model: of any request, and of a PredictResponse."""
_LONG_ANSWER = 1 << 16

Ended = Callable[[Reply | None, BaseException | None], None]


class Server(Protocol):
    """Where questions come from."""

    pipeline: Pipeline
    channel: Channel

    now: Callable[[], float]
    """The loop's clock."""

    def templates(self, version: int) -> Templates:
        """Those of a version."""


class GrpcQuestion(Question):
    """A unary call that was read whole: `chunks` begin with gRPC's five-byte prefix."""

    method = "grpc/Predict"
    _done: Ended | None = None

    def __init__(
        self,
        server: Server,
        head: GrpcHead,
        chunks: list[bytes],
        arrived: float,
        *,
        runs_model: bool = True,
        bypass: Bypass | None = None,
    ) -> None:
        self.chunks = chunks
        self.runs_model = runs_model
        self.bypass = bypass
        self._server = server
        self._head = head
        self._arrived = arrived
        self._deadline: float | None = None
        self._version: int | None = None

    @property
    def deadline(self) -> float:
        """The client's, or the server's request timeout, whichever is earlier."""
        if self._deadline is None:
            limit = self._server.pipeline.tunables.request_timeout_seconds
            asked = self._head.timeout
            self._deadline = self._arrived + (limit if asked is None else min(asked, limit))
        return self._deadline

    def known(self, version: int) -> bytes | None:
        chunks = self.chunks
        return self._server.templates(version).key(chunks[0]) if len(chunks) == 1 else None

    def canonical(self, version: int) -> bytes:
        pipeline = self._server.pipeline
        if sum(map(len, self.chunks)) > outline.LONG:
            return key.long_predict(pipeline.identity, version, self.chunks, self.hashed)
        whole = b"".join(self.chunks)
        request = key.parse_predict(whole[5:])
        parts = key.predict_parts(pipeline.identity, version, request, largest=pipeline.tunables.max_body_bytes)
        self._server.templates(version).learn(whole, 5, parts)
        return key.digest(parts)

    def asked(self) -> Asked | None:
        if sum(map(len, self.chunks)) > LARGEST_BODY:
            return None
        return Asked("grpc", self._head.path, b"".join(self.chunks))

    @property
    def stays(self) -> bool:
        if any(name == TRIAL[0] for name, _ in self._head.headers):
            return True
        try:
            named = named_model(self._head.path, Outline(self.chunks, 5).only(_SPEC))
        except Uncacheable:
            return True
        return named is None or named.name != self._server.pipeline.identity.model or is_versioned(named)

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
            block = self._head.forwarded(*more) + _timeout(deadline - self._server.now())
            response = await channel.call(block, self.chunks, deadline)
        except (TimeoutError, Unavailable, Reset) as error:
            return _failed(error)
        return grpc_codes.answer(response)

    def begin(self, version: int | None, done: Ended) -> None:
        """Without a task of its own while there is a connection."""
        self._version, self._done = version, done
        deadline = self.deadline
        block = self._head.block + _timeout(deadline - self._server.now())
        if not self._server.channel.begin(block, self.chunks, deadline, self._ended):
            self._done = None
            super().begin(version, done)

    def _ended(self, response: UpstreamResponse | None, error: Exception | None) -> None:
        done, self._done = self._done, None  # who waits knows us, too: a circle would be left for the garbage collector
        if done is None:
            return
        if response is not None:
            done(self._reply(self._version, grpc_codes.answer(response)), None)
        elif isinstance(error, (TimeoutError, Reset)):
            done(Reply(_failed(error)), None)
        else:
            super().begin(self._version, done)

    async def ask(self, version: int | None) -> Reply:
        return self._reply(version, await self._exchange(self._server.channel, self.deadline))

    def _reply(self, version: int | None, answer: Answer) -> Reply:
        if version is None or not self._answered_by(version, answer):
            return Reply(answer)
        plain = answer.headers is HEADERS and answer.trailers is OK_TRAILERS
        return Reply(answer, answer if plain else Answer(200, HEADERS, answer.body, OK_TRAILERS))

    def _answered_by(self, version: int, answer: Answer) -> bool:
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
            told = body[5:] if len(body) <= _LONG_ANSWER else Outline((body,), 5).only(_ANSWERED_BY)
            if PredictResponse.FromString(told).model_spec.version.value == version:
                return True
        except (DecodeError, Uncacheable):
            return False
        self._server.pipeline.availability.suspect()
        return False


def _timeout(seconds: float) -> bytes:
    """The header `grpc-timeout`, never less than asked for."""
    if seconds < 1:
        return literal(b"grpc-timeout", grpc_codes.format_timeout(seconds))
    return _rounded_timeout(math.ceil(seconds * _ROUND))


@functools.lru_cache(maxsize=1024)
def _rounded_timeout(units: int) -> bytes:
    return literal(b"grpc-timeout", grpc_codes.format_timeout(units / _ROUND))


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
