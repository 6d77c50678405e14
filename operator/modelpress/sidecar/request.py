"""One request from its head to its answer; the same for HTTP/2 and HTTP/1.1, whose connections make them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from modelpress.sidecar import measures, observation
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.body import Bodies, Body
from modelpress.sidecar.head import Head
from modelpress.sidecar.observation import Observer, Told
from modelpress.sidecar.reason import Refusal, Refused

log = logging.getLogger(__name__)

Peer = tuple[str, int]


class Service(Protocol):
    """What answers the requests of one protocol."""

    protocol: str
    """As it is told to people."""
    counts: measures.Protocol
    observer: Observer | None

    def begin(self, request: Request) -> Answer | Awaitable[Answer]:
        """The answer to a request that has been read whole.

        It, or what is awaited, counts exactly one outcome in the counts of the request; raises Refused, which is
        counted as well.
        """

    def is_keyed(self, head: Head) -> bool:
        """Whether the answer to such a request is looked for by a key of its body."""

    def refusal(self, refused: Refused) -> Answer:
        """How a refusal is told in this protocol."""

    def failure(self) -> Answer:
        """The answer where we are at fault."""

    def code(self, answer: Answer) -> str:
        """The code of an answer, for metrics."""


class Connection(Protocol):
    """Whom to answer."""

    peer: Peer

    def reply(self, request: Request, answer: Answer) -> None:
        """Called exactly once for each request, unless its client left first; perhaps before the body has ended."""


class Desk:
    """Where the requests of one protocol come in: holds their bodies and counts them until they are answered."""

    def __init__(self, service: Service, bodies: Bodies, shared: measures.Measures, now: Callable[[], float]) -> None:
        self.service = service
        self.counts = service.counts
        self.bodies = bodies
        self.measures = shared
        self.now = now
        """The loop's clock."""


class Request:
    """`add` and `complete`, or `leave` at any time. Whatever happens, it is counted with exactly one outcome."""

    __slots__ = (
        "_begun",
        "_desk",
        "_since",
        "_waiting",
        "arrived",
        "body",
        "connection",
        "counts",
        "head",
        "heard",
        "over",
        "stream",
        "unpaid",
        "whole",
        "window",
    )

    def __init__(self, desk: Desk, head: Head, connection: Connection, stream: int = 0, window: int = 0) -> None:
        self._desk = desk
        self.head = head
        self.connection = connection
        self.stream = stream
        """HTTP/2: its number."""
        self.window = window
        """HTTP/2: bytes of an answer that the client takes."""
        self.unpaid = 0
        """HTTP/2: bytes that have come since the client was last allowed to send more."""
        self.body = Body(keyed=desk.service.is_keyed(head))
        self.arrived = self.heard = desk.now()
        """When it began and when something came last, on the loop's clock."""
        self.whole = False
        """Whether the body has ended."""
        self.over = False
        """Whether it was answered, or its client has left."""
        self._waiting: asyncio.Future[Answer] | None = None
        self._begun = True
        self.counts = desk.counts
        """Where its outcome is counted; of its own where somebody observes, and added to the desk's at its end."""
        self._since = 0.0
        if desk.service.observer is not None:
            self.counts = measures.Protocol()
            self._since = time.perf_counter()
        desk.counts.requests += 1
        desk.measures.active += 1

    def add(self, chunk: bytes) -> None:
        """The next bytes of the body; a body that is too large is answered at once."""
        if self.over:
            return
        desk = self._desk
        self.heard = desk.now()
        try:
            desk.bodies.add(self.body, chunk)
        except Refused as refused:
            self.refuse(refused)

    def complete(self) -> None:
        """The body has ended: lets the service answer, at once where it can."""
        self.whole = True
        if self.over:
            return
        service = self._desk.service
        try:
            begun = service.begin(self)
        except Refused as refused:
            self._answer(service.refusal(refused))
        except Exception as error:
            self._fail(error)
        else:
            if isinstance(begun, Answer):
                self._answer(begun)
            else:
                self._await(begun)

    def leave(self) -> None:
        """The client has gone."""
        if self.over:
            return
        self.over = True
        if self._waiting is None:
            self.counts.refused[Refusal.CLIENT_GONE] += 1
            self._end()
        elif self._begun:
            self._waiting.cancel()

    def refuse(self, refused: Refused) -> None:
        """Turns it away before its body has ended."""
        if not self.over:
            self.counts.refused[refused.reason] += 1
            self._answer(self._desk.service.refusal(refused))

    def overdue(self, now: float) -> bool:
        """Whether its body comes so slowly that it is to be turned away; `now` is on the loop's clock."""
        return not (self.over or self.whole) and self._desk.bodies.too_slow(now - self.arrived, now - self.heard)

    def _await(self, begun: Awaitable[Answer]) -> None:
        if not isinstance(begun, asyncio.Future):
            self._begun = False
            begun = asyncio.get_running_loop().create_task(self._run(begun))
        self._waiting = begun
        begun.add_done_callback(self._landed)

    async def _run(self, begun: Awaitable[Answer]) -> Answer:
        """Always begins, also where the client has left before: what never began would have counted no outcome."""
        self._begun = True
        task = asyncio.current_task()
        if self.over and task is not None:
            task.cancel()
        return await begun

    def _landed(self, waiting: asyncio.Future[Answer]) -> None:
        error = asyncio.CancelledError() if waiting.cancelled() else waiting.exception()
        if self.over:
            if not isinstance(error, (Refused, asyncio.CancelledError, type(None))):
                self._count_fault(error)
            self._end()
        elif error is None:
            self._answer(waiting.result())
        elif isinstance(error, Refused):
            self._answer(self._desk.service.refusal(error))
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """The client is told in its protocol's words, and others never notice."""
        self._count_fault(error)
        self._answer(self._desk.service.failure())

    def _count_fault(self, error: BaseException) -> None:
        log.error("A request could not be answered", exc_info=error)
        self.counts.refused[Refusal.INTERNAL] += 1

    def _answer(self, answer: Answer) -> None:
        self.over = True
        desk = self._desk
        code = desk.service.code(answer)
        desk.counts.responses[code] += 1
        try:
            self.connection.reply(self, answer)
        finally:
            self._end()
        if self.counts is not desk.counts:
            self._tell(code, len(answer.body))

    def _tell(self, code: str, sent: int) -> None:
        service = self._desk.service
        if service.observer is not None:
            told = Told(code, time.perf_counter() - self._since, sent)
            service.observer(observation.observed(service.protocol, self.head, self.connection.peer, self.counts, told))

    def _end(self) -> None:
        desk = self._desk
        self._waiting = None
        desk.bodies.release(self.body)
        if self.counts is not desk.counts:
            desk.counts.add(self.counts)
        desk.measures.active -= 1
        desk.measures.last_request = desk.now()
