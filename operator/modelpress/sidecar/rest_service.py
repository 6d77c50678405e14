"""REST as the sidecar speaks it: predict through the cache, other POSTs in line, everything else straight through."""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import TYPE_CHECKING

from modelpress.sidecar import json_key, observation
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.body import Bodies, Receive, Scope, Send
from modelpress.sidecar.measures import Protocol
from modelpress.sidecar.observation import Observer
from modelpress.sidecar.peer import closed
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.popular import Asked
from modelpress.sidecar.question import Question, Reply
from modelpress.sidecar.reason import Bypass, Refusal, Refused, Uncacheable
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


class RestQuestion(Question):
    """A REST request that was read whole."""

    def __init__(self, service: RestService, scope: Scope, chunks: list[bytes], arrived: float) -> None:
        self.chunks = chunks
        self._service = service
        self._scope = scope
        self._arrived = arrived
        self.runs_model = scope["method"] == "POST"
        self._match = _PREDICT.fullmatch(scope["raw_path"].decode("latin-1")) if self.runs_model else None
        self._origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
        self.bypass = self._unsuitable()
        self.method = "rest/predict"
        self.context = repr((self._named(), self._origin)).encode()

    def _named(self) -> tuple[str | None, ...]:
        return self._match.groups() if self._match else ()

    def _unsuitable(self) -> Bypass | None:
        if self._match is None:
            return Bypass.NOT_CACHEABLE
        if self._scope["query_string"]:
            return Bypass.QUERY
        if any(name == b"content-encoding" for name, _ in self._scope["headers"]):
            return Bypass.COMPRESSED
        return None

    @property
    def deadline(self) -> float:
        return self._arrived + self._service.pipeline.tunables.request_timeout_seconds

    def gone(self) -> bool:
        """HTTP/1.1 clients go without a word from the ASGI server, so the kernel is asked."""
        return self._scope["http_version"] == "1.1" and closed(self._scope.get("client"), self._scope.get("server"))

    def canonical(self, version: int) -> bytes:
        name, number, label = self._named()
        identity = self._service.pipeline.identity
        if name != identity.model:
            raise Uncacheable(Bypass.OTHER_MODEL)
        if label is not None:
            raise Uncacheable(Bypass.VERSION_LABEL)
        if number is not None and number.lstrip("0") != str(version).lstrip("0"):  # it may have thousands of digits
            raise Uncacheable(Bypass.OTHER_VERSION)
        return json_key.predict(identity, version, b"".join(self.chunks), self._origin)

    def asked(self) -> Asked | None:
        return None if self._origin else Asked("rest", self._scope["raw_path"].decode("latin-1"), b"".join(self.chunks))

    @property
    def stays(self) -> bool:
        matched = _ASKED.match(self._scope["raw_path"].decode("latin-1"))
        ours = matched is not None and matched[1] == self._service.pipeline.identity.model
        return not ours or any(name == TRIAL[0] for name, _ in self._scope["headers"])

    @property
    def comparable(self) -> bool:
        return self.bypass is None

    def outputs(self, answer: Answer) -> Outputs:
        from modelpress.sidecar.rollout import outputs  # brings numpy, which nobody else needs

        return outputs.of_rest(answer.body)

    async def ask_at(self, backend: Backend, deadline: float) -> Answer:
        return await self._exchange(backend.rest, deadline, TRIAL)

    async def ask(self, version: int | None) -> Reply:
        pinned = None if self._match is None or self._match[2] is not None else version
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
        scope = self._scope
        target = scope["raw_path"].decode("latin-1")
        if version is not None:
            model, _, verb = target.rpartition(":")
            target = f"{model}/versions/{version}:{verb}"
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        left = max(deadline - asyncio.get_running_loop().time(), 0.001)
        headers = (*scope["headers"], *more)
        try:
            return await upstream.request(scope["method"], target, headers, b"".join(self.chunks), timeout=left)
        except TimeoutError:
            return failure(504, "Deadline Exceeded")
        except OSError as error:
            return failure(503, str(error) or type(error).__name__)


class RestService:
    """An ASGI endpoint for everything that is not gRPC."""

    def __init__(self, pipeline: Pipeline, upstream: RestUpstream, bodies: Bodies) -> None:
        self.pipeline = pipeline
        self.upstream = upstream
        self.draining = False
        """While draining, HTTP/1.1 clients are told to come back on another connection."""
        self._bodies = bodies
        self._counts = pipeline.measures.rest
        self.observer: Observer | None = None

    def question(self, path: str, body: bytes) -> Question:
        """A POST that no client waits for."""
        scope: Scope = {
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "http_version": "2",
        }
        return RestQuestion(self, scope, [body], asyncio.get_running_loop().time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        recorder, counts = (None, self._counts) if self.observer is None else observation.recorder(self._counts)
        try:
            answer = await self._answer(scope, receive, counts)
        except Refused as refused:
            answer = refusal(refused)
        self._counts.responses[str(answer.status)] += 1
        headers = list(answer.headers)
        if self.draining and scope["http_version"] == "1.1":
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        if recorder is not None and self.observer is not None:
            self.observer(recorder.observed("http", scope, str(answer.status), len(answer.body)))

    async def fail(self, send: Send) -> None:
        """The answer where we are at fault."""
        self._counts.responses["500"] += 1
        answer = failure(500, "Internal error of the sidecar")
        await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive, counts: Protocol) -> Answer:
        arrived = asyncio.get_running_loop().time()
        chunks, length = await self._bodies.read(receive, counts)
        try:
            return await self.pipeline.answer(RestQuestion(self, scope, chunks, arrived), counts)
        finally:
            self._bodies.release(length)


def failure(status: int, message: str, *headers: tuple[bytes, bytes]) -> Answer:
    """An error of our own, in the server's form."""
    body = json.dumps({"error": message}).encode()
    return Answer(
        status, ((b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers), body
    )


def refusal(refused: Refused) -> Answer:
    """How a refused request is told; Retry-After is in whole seconds."""
    status = _STATUS_OF_REFUSAL.get(refused.reason, 429)
    if refused.retry_after is None:
        return failure(status, refused.message)
    return failure(status, refused.message, (b"retry-after", str(math.ceil(refused.retry_after)).encode()))
