"""The administration port: health, readiness, metrics, state, drain and purge. Never reachable by the data ports."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.availability import Availability
from modelpress.sidecar.body import Bodies
from modelpress.sidecar.exposition import Exposition
from modelpress.sidecar.head import Head
from modelpress.sidecar.http1 import Malformed
from modelpress.sidecar.key import Identity
from modelpress.sidecar.measures import Measures, Protocol
from modelpress.sidecar.observation import Observer
from modelpress.sidecar.reason import Refusal, Refused
from modelpress.sidecar.request import Desk, Request

LONGEST_DRAIN = 3600.0
LARGEST_BODY, LARGEST_BODIES = 1 << 16, 1 << 20

POSTS = frozenset({("POST", "/drain"), ("POST", "/purge")})
_STATUS_OF_REFUSAL = {Refusal.TOO_LARGE: 413, Refusal.DEADLINE: 408}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Purge = Callable[[str | None], Awaitable[dict[str, int | None]]]
Drain = Callable[[float | None, float | None], Awaitable[bool]]


class Admin:
    """Answers on the administration port; what is asked there is in no metric."""

    protocol = "http"

    def __init__(
        self,
        availability: Availability,
        exposition: Exposition,
        state: Callable[[], dict[str, Any]],
        draining: Callable[[], bool],
        drain: Drain,
        purge: Purge,
        identity: Identity,
    ) -> None:
        self._availability = availability
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(exposition)
        self._state = state
        self._draining = draining
        self._drain = drain
        self._purge = purge
        self._identity = identity
        self.counts = Protocol()
        self.observer: Observer | None = None

    def begin(self, request: Request) -> Answer | Awaitable[Answer]:
        """The answer, as Service has it; bodies do not matter."""
        head = request.head
        method, path = head.method, head.path
        if method not in ("GET", "HEAD") and (method, path) not in POSTS:
            return _text(405, "Method not allowed")
        if path == "/healthz":
            return _text(200, "ok")
        if path == "/readyz":
            return self._ready()
        if path == "/metrics":
            return Answer(200, ((b"content-type", CONTENT_TYPE_LATEST.encode()),), generate_latest(self._registry))
        if path == "/state":
            return _json(200, self._state())
        if path == "/drain" and method != "HEAD":
            return _to_its_end(self._start_drain(head.query))
        if path == "/purge":
            return _to_its_end(self._purged(head.query)) if method == "POST" else _text(405, "POST it")
        return _text(404, "Not found: /healthz /readyz /metrics /state /drain /purge")

    def desk(self) -> Desk:
        """One that is counted and bounded by itself, to answer however busy the data ports are."""
        own = Measures()
        bodies = Bodies(own, largest=LARGEST_BODY, total=LARGEST_BODIES)
        return Desk(self, bodies, own, asyncio.get_running_loop().time)

    def is_keyed(self, head: Head) -> bool:
        """Never."""
        return False

    def refusal(self, refused: Refused) -> Answer:
        """How a refusal is told."""
        status = refused.status if isinstance(refused, Malformed) else _STATUS_OF_REFUSAL.get(refused.reason, 503)
        return _text(status, refused.message)

    def failure(self) -> Answer:
        """The answer where we are at fault."""
        return _text(500, "Internal error of the sidecar")

    def code(self, answer: Answer) -> str:
        """The HTTP status."""
        return str(answer.status)

    async def _ready(self) -> Answer:
        if self._draining():
            return _text(503, "Draining")
        status = await self._availability.refresh()
        return _text(200, "ok") if status.ready else _text(503, status.message)

    async def _purged(self, query: bytes) -> Answer:
        """Of one artifact with `digest=`, else of the model; `model=` is checked, to be sure who is asked."""
        parameters = parse_qs(query.decode("latin-1"), keep_blank_values=True)
        if unknown := set(parameters) - {"digest", "model"}:
            return _text(400, f"{', '.join(sorted(unknown))}: not known; there are digest= and model=")
        digest = parameters.get("digest", [None])[0]
        if digest is not None and not DIGEST.fullmatch(digest):
            return _text(400, f"digest={digest}: write sha256: and 64 hex digits")
        model = parameters.get("model", [self._identity.model])[0]
        if model != self._identity.model:
            return _text(404, f"model={model}: this sidecar keeps answers of {self._identity.model}")
        counts = await self._purge(digest)
        return _json(503 if None in counts.values() else 200, {"purged": counts})

    async def _start_drain(self, query: bytes) -> Answer:
        parameters = parse_qs(query.decode("latin-1"))
        try:
            bound = _seconds(parameters, "timeout")
            quiet = _seconds(parameters, "quiet")
        except ValueError as error:
            return _text(400, str(error))
        idle = await self._drain(bound, quiet)
        return _json(200 if idle else 504, {"idle": idle})


async def _to_its_end(asked: Coroutine[Any, Any, Answer]) -> Answer:
    """What has begun is finished even if the client goes away."""
    return await asyncio.shield(asyncio.get_running_loop().create_task(asked))


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
