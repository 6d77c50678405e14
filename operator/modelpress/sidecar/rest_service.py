"""REST as the sidecar speaks it: predict through the cache, other POSTs in line, everything else straight through."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING, NamedTuple

from modelpress.sidecar import json_key
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.body import Chunks
from modelpress.sidecar.head import Head
from modelpress.sidecar.http1 import Malformed
from modelpress.sidecar.observation import Observer
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.popular import Asked
from modelpress.sidecar.question import Question, Reply
from modelpress.sidecar.reason import Bypass, Refusal, Refused, Uncacheable
from modelpress.sidecar.request import Request
from modelpress.sidecar.rest_upstream import RestUpstream
from modelpress.sidecar.rollout.backend import TRIAL, Backend

if TYPE_CHECKING:
    from modelpress.sidecar.rollout.outputs import Outputs

# TF Serving's own patterns; it, too, ignores case.
_PREDICT = re.compile(r"/v1/models/([^/:%]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict", re.IGNORECASE)

_ASKED = re.compile(r"/v1/models/([^/:%]+):(?:predict|classify|regress)\Z", re.IGNORECASE)
"""A call of a model without a version."""

_STATUS_OF_REFUSAL = {
    Refusal.DEADLINE: 504,
    Refusal.CLIENT_GONE: 499,
    Refusal.TOO_LARGE: 413,
}


class Route(NamedTuple):
    """What follows from the head of a request alone."""

    target: tuple[str | None, ...]
    """Model, version and label that a prediction is asked of; empty for everything else."""
    origin: bytes
    context: bytes
    bypass: Bypass | None
    runs_model: bool


@functools.lru_cache(maxsize=512)
def _route(head: Head) -> Route:
    runs_model = head.method == "POST"
    matched = _PREDICT.fullmatch(head.path) if runs_model else None
    target = matched.groups() if matched is not None else ()
    origin = head.value(b"origin") or b""
    bypass = None
    if matched is None:
        bypass = Bypass.NOT_CACHEABLE
    elif head.query:
        bypass = Bypass.QUERY
    elif head.value(b"content-encoding") is not None:
        bypass = Bypass.COMPRESSED
    return Route(target, origin, repr((target, origin)).encode(), bypass, runs_model)


class RestQuestion(Question):
    """A REST request that was read whole."""

    method = "rest/predict"

    def __init__(self, service: RestService, head: Head, chunks: Chunks, arrived: float) -> None:
        self.chunks = chunks
        self._service = service
        self._head = head
        self._arrived = arrived
        self._target, self._origin, self.context, self.bypass, self.runs_model = _route(head)

    @property
    def deadline(self) -> float:
        return self._arrived + self._service.pipeline.tunables.request_timeout_seconds

    def canonical(self, version: int) -> bytes:
        name, number, label = self._target
        identity = self._service.pipeline.identity
        if name != identity.model:
            raise Uncacheable(Bypass.OTHER_MODEL)
        if label is not None:
            raise Uncacheable(Bypass.VERSION_LABEL)
        if number is not None and number.lstrip("0") != str(version).lstrip("0"):  # it may have thousands of digits
            raise Uncacheable(Bypass.OTHER_VERSION)
        return json_key.predict(identity, version, b"".join(self.chunks), self._origin)

    def asked(self) -> Asked | None:
        return None if self._origin else Asked("rest", self._head.path, b"".join(self.chunks))

    @property
    def stays(self) -> bool:
        matched = _ASKED.match(self._head.path)
        ours = matched is not None and matched[1] == self._service.pipeline.identity.model
        return not ours or any(name == TRIAL[0] for name, _ in self._head.headers)

    @property
    def comparable(self) -> bool:
        return self.bypass is None

    def outputs(self, answer: Answer) -> Outputs:
        from modelpress.sidecar.rollout import outputs  # brings numpy, which nobody else needs

        return outputs.of_rest(answer.body)

    async def ask_at(self, backend: Backend, deadline: float) -> Answer:
        return await self._exchange(backend.rest, deadline, TRIAL)

    async def ask(self, version: int | None) -> Reply:
        pinned = version if self._target and self._target[1] is None else None
        answer = await self._exchange(self._service.upstream, self.deadline, version=pinned)
        if pinned is not None and answer.status == 404:  # that version has gone: ask again as the client did
            self._service.pipeline.availability.suspect()
            return Reply(await self._exchange(self._service.upstream, self.deadline))
        if version is None or answer.status != 200 or any(name == b"content-encoding" for name, _ in answer.headers):
            return Reply(answer)
        return Reply(answer, answer._replace(headers=tuple(pair for pair in answer.headers if pair[0] != b"date")))

    async def _exchange(
        self, upstream: RestUpstream, deadline: float, *more: tuple[bytes, bytes], version: int | None = None
    ) -> Answer:
        """With a `version` it is that one's answer or 404: answers over REST do not say which version gave them."""
        head, target = self._head, self._head.path
        if version is not None:
            model, _, verb = target.rpartition(":")
            target = f"{model}/versions/{version}:{verb}"
        if head.query:
            target += "?" + head.query.decode("latin-1")
        left = max(deadline - asyncio.get_running_loop().time(), 0.001)
        headers = (*head.headers, *more)
        try:
            return await upstream.request(head.method, target, headers, b"".join(self.chunks), timeout=left)
        except TimeoutError:
            return failure(504, "Deadline Exceeded")
        except OSError as error:
            return failure(503, str(error) or type(error).__name__)


class RestService:
    """Answers requests over REST."""

    protocol = "http"

    def __init__(self, pipeline: Pipeline, upstream: RestUpstream) -> None:
        self.pipeline = pipeline
        self.upstream = upstream
        self.counts = pipeline.measures.rest
        self.observer: Observer | None = None

    def question(self, path: str, body: bytes) -> Question:
        """A POST that no client waits for."""
        head = Head("POST", path, b"", ((b"content-type", b"application/json"),))
        return RestQuestion(self, head, [body], asyncio.get_running_loop().time())

    def begin(self, request: Request) -> Answer | Awaitable[Answer]:
        """The answer, as Service has it."""
        question = RestQuestion(self, request.head, request.body.chunks, request.arrived)
        question.hashed = request.body.digest
        return self.pipeline.begin(question, request.counts)

    def is_keyed(self, head: Head) -> bool:
        """Posts, unless nothing is kept; few of them are no predictions."""
        return head.method == "POST" and self.pipeline.keeps

    def refusal(self, refused: Refused) -> Answer:
        """How a refusal is told."""
        return refusal(refused)

    def failure(self) -> Answer:
        """The answer where we are at fault."""
        return failure(500, "Internal error of the sidecar")

    def code(self, answer: Answer) -> str:
        """The HTTP status."""
        return str(answer.status)


def failure(status: int, message: str, *headers: tuple[bytes, bytes]) -> Answer:
    """An error of our own, in the server's form."""
    body = json.dumps({"error": message}).encode()
    length = (b"content-length", str(len(body)).encode())
    return Answer(status, ((b"content-type", b"application/json"), length, *headers), body)


def refusal(refused: Refused) -> Answer:
    """How a refused request is told; Retry-After is in whole seconds."""
    status = refused.status if isinstance(refused, Malformed) else _STATUS_OF_REFUSAL.get(refused.reason, 429)
    if refused.retry_after is None:
        return failure(status, refused.message)
    return failure(status, refused.message, (b"retry-after", str(math.ceil(refused.retry_after)).encode()))
