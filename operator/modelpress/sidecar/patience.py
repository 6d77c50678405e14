"""How long an HTTP/1.1 client is waited for, and how its connection ends."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from typing import cast

from modelpress.sidecar.connections import Connections
from modelpress.sidecar.request import Peer

HEAD_WITHIN = 10.0
"""Seconds from the first byte of a head to its last."""
IDLE = 120.0
"""Seconds without a request; longer than clients keep connections that rest."""
STALL = 60.0
"""Seconds that a client may leave its answers unread."""
LINGER, FIRST_LINGER = 0.2, 1.0
"""Seconds that a connection at rest stays open after our farewell, and one on which nothing was asked yet."""
PARTING, LONGEST_PARTING = 5.0, 30.0
"""Seconds of silence that a client has to close after our last answer, and altogether."""
TICK, SLOW_TICK = 1.0, 30.0


class Patient(asyncio.Protocol):
    """A connection that closes where its client does nothing that would be of use; a timer looks after it."""

    def __init__(self, connections: Connections) -> None:
        self.born = time.monotonic()
        self.peer: Peer = ("", 0)
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._paused = False
        self._last: float | None = None
        """When something was asked, answered or taken last."""
        self._blocked: float | None = None
        """Since when the client has not taken what was sent."""
        self._leaving: float | None = None
        """Since when the client is asked to go."""
        self._ended: float | None = None
        """When the last answer was given, after which nothing more is read."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    @abstractmethod
    def _is_busy(self) -> bool:
        """Whether anything is under way."""

    @property
    @abstractmethod
    def _is_waiting(self) -> bool:
        """Whether something has come in part."""

    @abstractmethod
    def _hasten(self, now: float) -> None:
        """Refuses what has not come whole in its time."""

    @abstractmethod
    def _go_on(self) -> None:
        """The client takes answers again."""

    @abstractmethod
    def _drop(self) -> None:
        """The client has gone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = (peer[0], peer[1])
        if self._connections.opened(self):
            self._tick_within(SLOW_TICK)
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connections.closed(self)
        self._drop()

    def eof_received(self) -> None:
        """A client that hangs up looks just like one that only has no more to say: both are taken for gone."""
        self._drop()

    def pause_writing(self) -> None:
        self._blocked = self._loop.time()
        self._pause()
        self._tick_within(TICK)

    def resume_writing(self) -> None:
        self._blocked = None
        self._last = self._loop.time()
        self._loop.call_soon(self._go_on)

    def farewell(self) -> bool:
        if self._leaving is not None:
            return False
        self._leaving = self._loop.time()
        self._tick_within(LINGER)
        return True

    def abort(self) -> None:
        self._transport.abort()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _tick_within(self, seconds: float) -> None:
        due = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        """Sees to clients that do not do what is awaited of them."""
        self._timer = None
        now = self._loop.time()
        if self._is_useless(now):
            self._transport.abort()
        elif self._is_at_rest(now):
            self._transport.close()
        else:
            self._hasten(now)
            waits = self._is_waiting or self._blocked or self._ended
            self._tick_within(LINGER if self._leaving is not None else TICK if waits else SLOW_TICK)

    def _is_useless(self, now: float) -> bool:
        """Whether the client neither reads nor closes."""
        if self._blocked is not None:
            return now - self._blocked > STALL
        last = self._last or 0.0
        unread = self._transport.get_write_buffer_size() > 0
        if self._ended is None:
            return unread and not self._is_busy and now - last > STALL
        return now - self._ended > LONGEST_PARTING or (not unread and now - max(self._ended, last) > PARTING)

    def _is_at_rest(self, now: float) -> bool:
        """Whether nothing is under way, nor has been for as long as we wait."""
        if self._is_busy or self._ended is not None or self._transport.get_write_buffer_size():
            return False
        if self._leaving is not None:
            last, patience = self._last, LINGER
            if last is None:
                last, patience = 0.0, FIRST_LINGER
            return now - max(last, self._leaving) >= patience
        return time.monotonic() - self.born > IDLE if self._last is None else now - self._last > IDLE
