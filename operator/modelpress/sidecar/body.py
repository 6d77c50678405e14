"""Reading request bodies: as chunks that are not joined, no larger than allowed, one by one and all together."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any

from modelpress.sidecar.measures import Measures, Protocol
from modelpress.sidecar.reason import Refusal, Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Chunks = list[bytes]

SHORT_SHARE = 32
"""A body is short up to one part in so many of the largest."""
RESERVE_SHARE = 5
"""One part in so many of what all bodies may hold is for short ones."""
CRUMB, HEAP = 4096, 65_536
"""Bytes below which a piece is a crumb, and up to which crumbs are put together."""


class _Body:
    """What has come of one body. Crumbs are put together: as objects of their own they would take far more room."""

    __slots__ = ("_heap", "_pieces", "length")

    def __init__(self) -> None:
        self._pieces: Chunks = []
        self._heap: bytearray | None = None
        self.length = 0

    @property
    def chunks(self) -> Chunks:
        """The pieces in their order."""
        self._settle()
        return self._pieces

    def add(self, chunk: bytes) -> None:
        """The next bytes."""
        self.length += len(chunk)
        if len(chunk) < CRUMB and self._pieces:
            if self._heap is None:
                self._heap = bytearray()
            self._heap += chunk
            if len(self._heap) >= HEAP:
                self._settle()
            return
        if self._heap is not None:
            self._settle()
        self._pieces.append(chunk)

    def _settle(self) -> None:
        if self._heap:
            self._pieces.append(bytes(self._heap))
            self._heap = None


class Bodies:
    """Keeps count of the bytes of all bodies that are held; `total` is the most that may be held together.

    Long bodies leave a part of that to short ones, so that a few long uploads which do not come to an end shut nobody
    else out. A body must have come within `patience` seconds: who sends it byte by byte would hold memory for ever.
    """

    def __init__(self, measures: Measures, *, largest: int, total: int, patience: float = 30.0) -> None:
        self._measures = measures
        self.largest = largest
        self.total = total
        self.patience = patience

    async def read(self, receive: Receive, counts: Protocol) -> tuple[Chunks, int]:
        """The chunks of a body and their length, which must be given back with `release`.

        Raises Refused and CancelledError, and counts what it raises.
        """
        body = _Body()
        try:
            if self._take(await receive(), body):
                steps = receive().__await__()
                try:
                    waits_for = steps.send(None)
                except StopIteration as done:  # it was there already, as most are: no timeout need be set
                    if self._take(done.value, body):
                        await self._rest(receive, body)
                else:
                    async with asyncio.timeout(self.patience):
                        more = self._take(await _resumed(waits_for, steps), body)
                        while more:
                            more = self._take(await receive(), body)
        except BaseException as error:
            self.release(body.length)
            told = self._too_slow() if isinstance(error, TimeoutError) else error
            counts.refused[told.reason if isinstance(told, Refused) else Refusal.CLIENT_GONE] += 1
            raise told from None
        return body.chunks, body.length

    async def _rest(self, receive: Receive, body: _Body) -> None:
        async with asyncio.timeout(self.patience):
            while self._take(await receive(), body):
                pass

    def _take(self, message: Message, body: _Body) -> bool:
        """Adds what the server has received; whether more is to come."""
        if message["type"] != "http.request":
            raise Refused(Refusal.CLIENT_GONE, "The client has gone")
        chunk: bytes = message.get("body") or b""
        if chunk:
            body.add(chunk)
            self._measures.body_bytes += len(chunk)
            if body.length > self.largest or self._measures.body_bytes > self._room(body.length):
                raise self._too_much(body.length)
        return bool(message.get("more_body"))

    def _room(self, length: int) -> int:
        """Bytes that all bodies may hold when one of this length grows."""
        return self.total if length <= self.largest // SHORT_SHARE else self.total - self.total // RESERVE_SHARE

    def release(self, length: int) -> None:
        """The body is no longer held."""
        self._measures.body_bytes -= length

    def _too_much(self, length: int) -> Refused:
        if length > self.largest:
            return Refused(Refusal.TOO_LARGE, f"The request is larger than {self.largest} bytes")
        message = f"The requests in progress hold more than {self._room(length)} bytes"
        return Refused(Refusal.MEMORY, message, retry_after=1.0)

    def _too_slow(self) -> Refused:
        return Refused(Refusal.DEADLINE, f"The request did not come within {self.patience:g} s")


@types.coroutine
def _resumed(waits_for: Any, steps: Generator[Any, Any, Message]) -> Generator[Any, Any, Message]:
    """Awaits what has made its first step already."""
    yield waits_for
    return (yield from steps)
