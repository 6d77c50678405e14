"""One client's HTTP/2 connection to the gRPC port.

It runs on the loop's own transport: a thread of a server's own would cost more than everything else that a hit needs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from modelpress.sidecar import frames
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.connections import Connections
from modelpress.sidecar.frames import Code, ProtocolError
from modelpress.sidecar.grpc_codes import HEADERS, OK_TRAILERS
from modelpress.sidecar.grpc_head import GrpcHead
from modelpress.sidecar.headers import Headers, encode
from modelpress.sidecar.nuisance import Nuisance
from modelpress.sidecar.outbox import Windowed
from modelpress.sidecar.parting import CONNECTION_WINDOW, STREAM_WINDOW, STREAMS, Guest
from modelpress.sidecar.request import Desk, Request
from modelpress.sidecar.stream import Sending

DRIBBLE = 64
"""Bytes of window below which a client that is owed an answer draws it out."""


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


class GrpcConnection(Guest[GrpcHead]):
    """Made by a listener for each client."""

    def __init__(self, desk: Desk, connections: Connections) -> None:
        super().__init__(connections, GrpcHead)
        self._desk = desk
        self._reading: dict[int, Request] = {}
        self._requests: dict[int, Request] = {}
        """Those that have come whole, and are not answered."""
        self._responses: dict[int, _Response] = {}
        self._received = 0
        self._nuisance = Nuisance(self._loop.time)

    def data_received(self, data: bytes) -> None:
        if self._dead:
            return
        self._out.cork()
        if not self._greeting or (data := self._greet(data)):
            super().data_received(data)
        self._out.uncork()
        if self._timer is None and self._is_waiting:
            self._watch()

    def reply(self, request: Request, answer: Answer) -> None:
        number, body, out = request.stream, answer.body, self._out
        early = self._requests.pop(number, None) is None and self._reading.pop(number, None) is not None
        plain = answer.trailers is OK_TRAILERS and answer.headers is HEADERS and not early
        alone = not (self._requests or self._reading or out.corked)  # nothing could be sent together with it
        if alone:
            out.cork()
        if plain and out.admits(len(body), request.window):
            stream = number.to_bytes(4, "big")
            size = len(body).to_bytes(3, "big")
            out.send(b"".join((_START_PREFIX, stream, _START, size, _DATA, stream, body, _END_PREFIX, stream, _END)))
        else:
            self._reply(request, answer, early=early)
        if alone:
            out.uncork()
        if self._final is not None:
            self._part()

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

    @property
    def _is_waiting(self) -> bool:
        return bool(self._reading or self._responses)

    def _hasten(self, now: float) -> None:
        for request in list(self._reading.values()):
            if request.overdue(now):
                request.refuse(self._desk.bodies.refusal())

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

    def _windows(self) -> Iterable[Windowed]:
        return [*self._reading.values(), *self._requests.values(), *self._responses.values()]

    def _drop(self) -> None:
        left = [*self._reading.values(), *self._requests.values()]
        for gone in (self._reading, self._requests, self._responses):
            gone.clear()
        for request in left:
            request.leave()

    def _reset(self, number: int, code: Code) -> None:
        self._out.send(frames.frame(frames.RST_STREAM, 0, number, code.to_bytes(4, "big")))
