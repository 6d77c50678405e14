"""The administration port: health, readiness, metrics, state and drain. Never reachable through the data ports."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.availability import Availability
from modelpress.sidecar.body import Receive, Scope, Send
from modelpress.sidecar.exposition import Exposition

LONGEST_DRAIN = 3600.0

Drain = Callable[[float | None, float | None], Awaitable[bool]]


class Admin:
    """An ASGI application."""

    def __init__(
        self,
        availability: Availability,
        exposition: Exposition,
        state: Callable[[], dict[str, Any]],
        draining: Callable[[], bool],
        drain: Drain,
    ) -> None:
        self._availability = availability
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(exposition)
        self._state = state
        self._draining = draining
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; bodies are not read."""
        answer = await self._answer(scope)
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _answer(self, scope: Scope) -> Answer:
        method, path = scope["method"], scope["path"]
        if method not in ("GET", "HEAD") and (method, path) != ("POST", "/drain"):
            return _text(405, "Method not allowed")
        if path == "/healthz":
            return _text(200, "ok")
        if path == "/readyz":
            return await self._ready()
        if path == "/metrics":
            return Answer(200, ((b"content-type", CONTENT_TYPE_LATEST.encode()),), generate_latest(self._registry))
        if path == "/state":
            return _json(200, self._state())
        if path == "/drain" and method != "HEAD":
            return await self._start_drain(scope["query_string"])
        return _text(404, "Not found: /healthz /readyz /metrics /state /drain")

    async def _ready(self) -> Answer:
        if self._draining():
            return _text(503, "Draining")
        status = await self._availability.refresh()
        return _text(200, "ok") if status.ready else _text(503, status.message)

    async def _start_drain(self, query: bytes) -> Answer:
        parameters = parse_qs(query.decode("latin-1"))
        try:
            bound = _seconds(parameters, "timeout")
            quiet = _seconds(parameters, "quiet")
        except ValueError as error:
            return _text(400, str(error))
        idle = await self._drain(bound, quiet)
        return _json(200 if idle else 504, {"idle": idle})


def _seconds(parameters: dict[str, list[str]], name: str) -> float | None:
    if name not in parameters:
        return None
    text = parameters[name][0]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LONGEST_DRAIN:
        raise ValueError(f"{name}={text}: write seconds between 0 and {LONGEST_DRAIN:g}")
    return value


def _text(status: int, text: str) -> Answer:
    return Answer(status, ((b"content-type", b"text/plain; charset=utf-8"),), f"{text}\n".encode())


def _json(status: int, value: dict[str, Any]) -> Answer:
    return Answer(status, ((b"content-type", b"application/json"),), json.dumps(value).encode() + b"\n")
