"""A question on its way to the model, and all who wait for what becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.measures import Protocol
from modelpress.sidecar.question import Question, Reply
from modelpress.sidecar.reason import Refusal, Refused


class Flight:
    """Others that ask the same share the answer. Until somebody does, it costs no future."""

    __slots__ = ("_landing", "kept", "landed")

    def __init__(self) -> None:
        self._landing: asyncio.Future[Answer | None] | None = None
        self.landed = False
        self.kept: Answer | None = None
        """The answer to share, None where there is none."""

    def land(self, kept: Answer | None) -> None:
        """It is over; only the first call counts."""
        if self.landed:
            return
        self.landed, self.kept = True, kept
        if self._landing is not None and not self._landing.done():
            self._landing.set_result(kept)

    async def share(self, deadline: float, counts: Protocol) -> Answer | None:
        """The answer to somebody else's equal question, None where there is none to share; raises Refused."""
        if self.landed:
            return self.kept
        if self._landing is None:
            self._landing = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(self._landing)
        except TimeoutError as error:
            raise Refused(Refusal.DEADLINE, "Deadline Exceeded while an equal request was in the model") from error
        except asyncio.CancelledError:
            counts.refused[Refusal.CLIENT_GONE] += 1
            raise


class Call:
    """One question in the model. It is finished and accounted for even if nobody waits any longer."""

    __slots__ = ("_account", "epoch", "flight", "key", "question", "started", "version", "waiting")

    def __init__(
        self,
        question: Question,
        key: bytes | None,
        version: int | None,
        flight: Flight | None,
        *,
        loop: asyncio.AbstractEventLoop,
        epoch: int,
        account: Callable[[Call, Reply | None, float], None],
    ) -> None:
        self.question = question
        self.key = key
        """None where the answer is not to be kept."""
        self.version = version
        self.flight = flight
        self.epoch = epoch
        self._account = account
        self.waiting: asyncio.Future[Answer] = loop.create_future()
        """For the answer, of the one who asked; may be cancelled."""
        self.started = time.perf_counter()

    def begin(self) -> asyncio.Future[Answer]:
        """Asks the model."""
        try:
            self.question.begin(self.version, self._done)
        except BaseException as error:
            self.waiting.cancel()
            self._done(None, error)
            raise
        return self.waiting

    def _done(self, reply: Reply | None, error: BaseException | None) -> None:
        self._account(self, reply, time.perf_counter() - self.started)
        if self.waiting.done():
            return
        if reply is None:
            self.waiting.set_exception(error or asyncio.CancelledError())
        else:
            self.waiting.set_result(reply.answer)
