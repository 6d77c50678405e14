"""How an HTTP/2 connection of a client begins and ends: its preface, farewells that lose nothing, and lost patience."""

from __future__ import annotations

import asyncio
import socket
import time
from abc import abstractmethod
from collections.abc import Callable

from modelpress.sidecar import frames
from modelpress.sidecar.connections import Connections
from modelpress.sidecar.frames import Code, Setting
from modelpress.sidecar.headers import Headers, Meaning
from modelpress.sidecar.request import Peer
from modelpress.sidecar.session import OUR_FRAME, Session

STREAMS = 1024
"""Calls at once on one connection; more wait at the client."""
STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 1 << 22
"""Bytes that a client may send ahead of us."""
HEADERS_SIZE = 1 << 14
"""Bytes of a request's headers, encoded and decoded; as much as gRPC's own servers take at most."""
GREETING = 10.0
"""Seconds for the preface of HTTP/2, and for the answer to our farewell."""
STALL = 60.0
"""Seconds that a client may leave its answers unread."""
LINGER = 1.0
TICK = 1.0

_HELLO = frames.settings(
    {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.MAX_CONCURRENT_STREAMS: STREAMS,
        Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        Setting.MAX_FRAME_SIZE: OUR_FRAME,
        Setting.MAX_HEADER_LIST_SIZE: HEADERS_SIZE,
    }
) + frames.credit(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
_LAST_CALL = b"farewell"
_NO_HTTP2 = b"This port speaks gRPC, that is HTTP/2; REST has a port of its own.\n"


class Guest(Session[Meaning]):
    """The connection of a client, but for what is said on it."""

    def __init__(self, connections: Connections, meaning: Callable[[Headers], Meaning]) -> None:
        super().__init__(meaning, HEADERS_SIZE)
        self._connections = connections
        self.born = time.monotonic()
        self.peer: Peer = ("", 0)
        self._greeting = frames.PREFACE
        """What is still to come of it."""
        self._last = 0
        """The highest stream of the client."""
        self._final: int | None = None
        """The last stream that is looked at, once the client has heard our farewell."""
        self._leaving = 0.0
        """When it was asked to go, on the loop's clock."""
        self._progress = self._loop.time()
        """When the client last took something."""
        self._timer: asyncio.TimerHandle | None = None
        self._dead = False

    @property
    @abstractmethod
    def _open(self) -> int:
        """Streams that are not over."""

    @property
    @abstractmethod
    def _is_waiting(self) -> bool:
        """Whether the client has to do something before they are."""

    @abstractmethod
    def _hasten(self, now: float) -> None:
        """Refuses what has not come whole in its time."""

    @abstractmethod
    def _drop(self) -> None:
        """Nobody waits for what was asked here any longer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self.peer = (name[0], name[1]) if name else ("", 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._watch()
        if not self._connections.opened(self):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._dead = True
        self._connections.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        self._out.clear()
        self._drop()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._progress = self._loop.time()
        self._transport.pause_reading()  # who does not read answers is not listened to, or they would pile up
        self._watch()

    def resume_writing(self) -> None:
        self._progress = self._loop.time()
        self._transport.resume_reading()
        super().resume_writing()

    def farewell(self) -> bool:
        """A GOAWAY that names no last stream; when the client has answered the PING behind it, one that does.

        So all that the client opened before it heard of it is answered (RFC 9113, 6.8).
        """
        if self._leaving or self._dead:
            return False
        if self._greeting:
            if time.monotonic() - self.born > LINGER:
                self._out.send(_HELLO + frames.goaway(0, Code.NO_ERROR))
                self._close()
            return False
        self._leaving = self._loop.time()
        self._out.send(frames.goaway(frames.LARGEST_WINDOW, Code.NO_ERROR))
        self._out.send(frames.frame(frames.PING, 0, 0, _LAST_CALL))
        self._out.flush()  # not together with answers: clients begin calls on reading those, and could not send them
        self._watch()
        return True

    def abort(self) -> None:
        self._dead = True
        self._transport.abort()

    def _greet(self, data: bytes) -> bytes:
        """What comes after the preface; nothing where the client does not speak HTTP/2."""
        expected = self._greeting
        if data[: len(expected)] != expected[: len(data)]:
            head = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: "
            self._out.send(head + str(len(_NO_HTTP2)).encode() + b"\r\n\r\n" + _NO_HTTP2)
            self._close()
            return b""
        self._greeting = expected[len(data) :]
        if not self._greeting:
            self._out.send(_HELLO)
        return data[len(expected) :]

    def _on_pong(self, payload: bytes) -> None:
        if payload == _LAST_CALL and self._leaving:
            self._finish()

    def _broken(self, code: Code, reason: str) -> None:
        self._out.send(frames.goaway(self._last, code, reason))
        self._close()
        self._drop()

    def _finish(self) -> None:
        """Later streams are not looked at any more."""
        if self._final is None:
            self._final = self._last
            self._out.send(frames.goaway(self._last, Code.NO_ERROR))
            self._part()

    def _part(self) -> None:
        if not self._open and not self._dead:
            self._close()

    def _close(self) -> None:
        """Sends what there is to send and listens no more, but reads on: a socket closed unread resets the client."""
        self._dead = True
        self._out.shut()
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(LINGER, self._cut, self._loop.time() + STALL)

    def _cut(self, end: float) -> None:
        """The client has had its time to close, unless it has not even read all yet."""
        if self._transport.get_write_buffer_size() and self._loop.time() < end:
            self._loop.call_later(LINGER, self._cut, end)
        else:
            self._transport.abort()

    def _watch(self) -> None:
        if self._timer is None and not self._dead:
            self._timer = self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        """Once a second, while there is something to wait for."""
        self._timer = None
        now = self._loop.time()
        stalled = (self._out.paused or self._out.blocked) and now - self._progress > STALL
        if stalled or (self._greeting and time.monotonic() - self.born > GREETING):
            self.abort()
        elif self._leaving and now - self._leaving > GREETING:
            self._finish()
        self._hasten(now)
        if self._greeting or self._is_waiting or self._out.paused or self._leaving:
            self._watch()
