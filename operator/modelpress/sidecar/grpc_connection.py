"""One client's HTTP/2 connection to the gRPC port.

It runs on the loop's own transport: a thread of a server's own would cost more than everything else that a hit needs.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import Iterable

from modelpress.sidecar import frames
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.connections import Connections
from modelpress.sidecar.frames import Code, ProtocolError, Setting
from modelpress.sidecar.grpc_codes import HEADERS, OK_TRAILERS
from modelpress.sidecar.grpc_head import GrpcHead
from modelpress.sidecar.headers import Headers, encode
from modelpress.sidecar.nuisance import Nuisance
from modelpress.sidecar.outbox import Windowed
from modelpress.sidecar.request import Desk, Peer, Request
from modelpress.sidecar.session import OUR_FRAME, Session
from modelpress.sidecar.stream import Sending

STREAMS = 1024
"""Calls at once on one connection; more wait at the client."""
STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 1 << 22
"""Bytes that a client may send ahead of us."""
HEADERS_SIZE = 1 << 16
"""Bytes of a request's headers, encoded and decoded; gRPC servers allow 8 to 16 kB."""
GREETING = 10.0
"""Seconds for the preface of HTTP/2, and for the answer to our farewell."""
DRIBBLE = 64
"""Bytes of window below which a client that is owed an answer draws it out."""
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


def _prefix(flags: int, block: bytes) -> bytes:
    """A HEADERS frame up to the number of its stream."""
    return frames.head(frames.HEADERS, flags, 0, len(block))[:5]


_START = encode(((b":status", b"200"), *HEADERS))
_START_PREFIX = _prefix(frames.END_HEADERS, _START)
_END = encode(OK_TRAILERS)
_END_PREFIX = _prefix(frames.END_HEADERS | frames.END_STREAM, _END)
_DATA = bytes((frames.DATA, 0))


@functools.lru_cache(maxsize=256)
def _start(status: int, headers: Headers) -> bytes:
    return encode(((b":status", str(status).encode()), *headers))


class _Response(Sending):
    """An answer of which some has to wait for the client."""

    __slots__ = ("connection", "early")

    connection: GrpcConnection
    early: bool

    def finished(self) -> None:
        self.connection.sent(self)


class GrpcConnection(Session[GrpcHead]):
    """Made by a listener for each client."""

    def __init__(self, desk: Desk, connections: Connections) -> None:
        super().__init__(GrpcHead, HEADERS_SIZE)
        self._desk = desk
        self._connections = connections
        self.born = time.monotonic()
        self.peer: Peer = ("", 0)
        self._greeting = frames.PREFACE
        """What is still to come of it."""
        self._reading: dict[int, Request] = {}
        self._requests: dict[int, Request] = {}
        """Those that have come whole, and are not answered."""
        self._responses: dict[int, _Response] = {}
        self._last = 0
        """The highest stream of the client."""
        self._final: int | None = None
        """The last stream that is looked at, once the client has heard our farewell."""
        self._leaving = 0.0
        """When it was asked to go, on the loop's clock."""
        self._received = 0
        self._nuisance = Nuisance(self._loop.time)
        self._progress = self._loop.time()
        """When the client last took something."""
        self._timer: asyncio.TimerHandle | None = None
        self._dead = False

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

    def data_received(self, data: bytes) -> None:
        if self._dead:
            return
        self._out.cork()
        if not self._greeting or (data := self._greet(data)):
            super().data_received(data)
        self._out.uncork()
        if self._timer is None and (self._reading or self._responses):
            self._watch()

    def reply(self, request: Request, answer: Answer) -> None:
        number, body, out = request.stream, answer.body, self._out
        early = self._requests.pop(number, None) is None and self._reading.pop(number, None) is not None
        plain = answer.trailers is OK_TRAILERS and answer.headers is HEADERS and not early
        if plain and out.admits(len(body), request.window):
            stream = number.to_bytes(4, "big")
            size = len(body).to_bytes(3, "big")
            out.send(b"".join((_START_PREFIX, stream, _START, size, _DATA, stream, body, _END_PREFIX, stream, _END)))
        else:
            self._reply(request, answer, early=early)
        if self._final is not None:
            self._part()

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

    def sent(self, response: _Response) -> None:
        """An answer that had to wait has gone out."""
        self._responses.pop(response.number, None)
        if response.early:
            self._reset(response.number, Code.NO_ERROR)
        if self._final is not None:
            self._part()

    def _reply(self, request: Request, answer: Answer, *, early: bool) -> None:
        """`early`: before the request has ended, so that the client has to be told to stop."""
        chunks = (answer.body,) if answer.body else ()
        block, trailers = _start(answer.status, answer.headers), answer.trailers
        response = _Response(
            block,
            chunks,
            number=request.stream,
            window=request.window,
            trailers=encode(trailers) if trailers else b"",
        )
        response.connection, response.early = self, early
        if not self._out.begin(response):
            if not self._responses:
                self._progress = self._loop.time()
            self._responses[request.stream] = response
            self._watch()
        elif early:
            self._reset(request.stream, Code.NO_ERROR)

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

    def _on_data(self, number: int, flags: int, payload: bytes, padding: int = 0) -> None:
        self._received += len(payload) + padding
        if self._received >= CONNECTION_WINDOW // 2:
            self._out.send(frames.credit(0, self._received))
            self._received = 0
        request = self._reading.get(number)
        if request is None:
            if number > self._last or not number & 1:
                raise ProtocolError(Code.PROTOCOL_ERROR, "DATA on a stream that is not open")
            if not payload:
                self._on_control(frames.DATA)
            return
        if payload:
            request.add(payload)
        elif not flags & frames.END_STREAM:
            self._on_control(frames.DATA)
        if flags & frames.END_STREAM:
            self._whole(number, request)
        elif not request.over:
            self._give_credit(request, len(payload) + padding)

    def _give_credit(self, request: Request, size: int) -> None:
        request.unpaid += size
        if request.unpaid > STREAM_WINDOW:
            raise ProtocolError(Code.FLOW_CONTROL_ERROR, "More was sent than the window allows")
        if request.unpaid >= STREAM_WINDOW // 2:
            self._out.send(frames.credit(request.stream, request.unpaid))
            request.unpaid = 0

    def _whole(self, number: int, request: Request) -> None:
        if self._reading.pop(number, None) is None:
            return  # it was too large, and has been answered
        self._requests[number] = request
        self._nuisance.earn()
        request.complete()

    def _on_headers(self, number: int, headers: GrpcHead, *, ends: bool) -> None:
        if not number & 1:
            raise ProtocolError(Code.PROTOCOL_ERROR, "A client's streams have odd numbers")
        if number <= self._last:
            self._on_trailers(number, ends=ends)
            return
        self._last = number
        if self._final is not None:
            return  # the client knows that we do not look at it
        if headers.fault is not None or self._open >= STREAMS:
            self._on_control(frames.HEADERS)
            self._reset(number, Code.PROTOCOL_ERROR if headers.fault else Code.REFUSED_STREAM)
            return
        request = Request(self._desk, headers, self, number, self._out.stream_window)
        self._reading[number] = request
        if ends:
            self._whole(number, request)

    def _on_trailers(self, number: int, *, ends: bool) -> None:
        request = self._reading.get(number)
        if request is None:
            self._on_control(frames.HEADERS)
        elif not ends:
            raise ProtocolError(Code.PROTOCOL_ERROR, "Trailers that do not end the stream")
        else:
            self._whole(number, request)

    @property
    def _open(self) -> int:
        return len(self._reading) + len(self._requests) + len(self._responses)

    def _on_reset(self, number: int, code: int) -> None:
        if number > self._last or not number & 1:
            raise ProtocolError(Code.PROTOCOL_ERROR, "RST_STREAM on a stream that is not open")
        request = self._reading.pop(number, None) or self._requests.pop(number, None)
        if request is not None:
            request.leave()
        response = self._responses.pop(number, None)
        if response is not None:
            self._out.forget(response)
        if self._final is not None:
            self._part()

    def _on_goaway(self, last: int, code: int) -> None:
        """The client opens no more streams; it closes when those that there are have ended."""

    def _on_window(self, number: int, payload: bytes) -> None:
        self._progress = self._loop.time()
        if self._responses and frames.number(payload) < DRIBBLE:
            self._on_control(frames.WINDOW_UPDATE)
        super()._on_window(number, payload)

    def _on_stream_window(self, number: int, increment: int) -> None:
        response = self._responses.get(number)
        if response is not None:
            self._out.widen_stream(response, increment)
            return
        request = self._requests.get(number) or self._reading.get(number)
        if request is not None:
            request.window += increment
            if request.window > frames.LARGEST_WINDOW:
                raise ProtocolError(Code.FLOW_CONTROL_ERROR, "Stream window overflow")
        elif number > self._last or not number & 1:
            raise ProtocolError(Code.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that is not open")

    def _on_settings(self, values: dict[int, int]) -> None:
        self._progress = self._loop.time()

    def _on_control(self, kind: int) -> None:
        self._nuisance.add()

    def _on_pong(self, payload: bytes) -> None:
        if payload == _LAST_CALL and self._leaving:
            self._finish()

    def _windows(self) -> Iterable[Windowed]:
        return [*self._reading.values(), *self._requests.values(), *self._responses.values()]

    def _broken(self, code: Code, reason: str) -> None:
        self._out.send(frames.goaway(self._last, code, reason))
        self._close()
        self._drop()

    def _drop(self) -> None:
        """Nobody waits for what was asked here any longer."""
        left = [*self._reading.values(), *self._requests.values()]
        for gone in (self._reading, self._requests, self._responses):
            gone.clear()
        for request in left:
            request.leave()

    def _reset(self, number: int, code: Code) -> None:
        self._out.send(frames.frame(frames.RST_STREAM, 0, number, code.to_bytes(4, "big")))

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
        stalled = (self._out.paused or self._responses) and now - self._progress > STALL
        if stalled or (self._greeting and time.monotonic() - self.born > GREETING):
            self.abort()
        elif self._leaving and now - self._leaving > GREETING:
            self._finish()
        for request in list(self._reading.values()):
            if request.overdue(now):
                request.refuse(self._desk.bodies.refusal())
        if self._greeting or self._reading or self._responses or self._out.paused or self._leaving:
            self._watch()
