"""One client's HTTP/1.1 connection to the REST port or the administration port.

Requests that are sent ahead (pipelined) wait in the connection: at most one of it is at the service, so that answers
go out in the order of the questions. It runs on the loop's own transport and needs no task.
"""

from __future__ import annotations

import contextlib
from typing import cast

from modelpress.sidecar import http1, patience
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.connections import Connections
from modelpress.sidecar.http1 import Chunked, Malformed
from modelpress.sidecar.patience import Patient
from modelpress.sidecar.reason import Refused
from modelpress.sidecar.request import Desk, Request

AHEAD = 1 << 16
"""Bytes sent ahead of an answer, from which on nothing more is read."""
TURN = 32
"""Requests sent ahead that are answered in one turn of the loop: others have questions, too."""
_JOINED = 1 << 16
_END = b"\r\n\r\n"


class RestConnection(Patient):
    """Every request that begins here is answered here, or its client has left."""

    def __init__(self, desk: Desk, connections: Connections) -> None:
        super().__init__(connections)
        self._desk = desk
        self._ahead = b""
        """What came and was not looked at: an unfinished head, or what was sent ahead."""
        self._since = 0.0
        """When the first byte of an unfinished head came."""
        self._head = http1.UNREADABLE
        self._request: Request | None = None
        """The one under way, and its head."""
        self._left = 0
        """Bytes that are still to come of its body, where that is not chunked."""
        self._chunked: Chunked | None = None
        self._outgoing: list[bytes] = []
        self._looking = False
        """Within `_look`, whose end sends what it has gathered."""
        self._more = False
        """Whether more has come than the request that is being answered at once."""

    def data_received(self, data: bytes) -> None:
        if self._ended is not None:
            self._last = self._loop.time()
        elif self._request is None or self._is_receiving:
            self._look(self._ahead + data if self._ahead else data)
        else:
            self._keep(self._ahead + data, anew=False)

    def reply(self, request: Request, answer: Answer) -> None:
        more = self._more if self._looking else self._ahead
        closing = not (self._head.persistent and request.whole) or (self._leaving is not None and not more)
        self._request, self._left, self._chunked = None, 0, None
        block, body = http1.answered(self._head, answer, closing=closing)
        if len(body) < _JOINED:
            self._outgoing.append(block + body)
        else:
            self._outgoing += (block, body)
        if closing:
            self._ended = self._loop.time()
            self._hold(b"")
        if not self._looking:
            self._last = self._loop.time()
            self._send()
            if self._ahead or self._paused:
                self._loop.call_soon(self._go_on)

    @property
    def _is_receiving(self) -> bool:
        """Whether the body of the request under way is still to come."""
        return self._left > 0 or self._chunked is not None

    def _go_on(self) -> None:
        """After an answer, or when the client has read: with what it sent ahead."""
        if self._blocked is not None or self._transport.is_closing():
            return
        if self._request is None or self._is_receiving:
            self._resume()
            if self._ahead:
                self._look(self._ahead)

    def _look(self, data: bytes) -> None:
        """At what has come, request by request, as far as they can be answered at once."""
        at, before, self._looking = 0, self._ahead, True
        self._hold(b"")
        try:
            for _ in range(TURN):
                if self._is_receiving:
                    at = self._receive(data, at)
                elif self._request is None:
                    while data.startswith(b"\r\n", at):  # empty lines may come before a request
                        at += 2
                    end = data.find(_END, at) + len(_END)
                    if end < len(_END):
                        self._check_unfinished(data, at)
                        break
                    at = self._begin(data, at, end)
                else:
                    break
                if at >= len(data) or self._ended is not None or self._blocked is not None:
                    break
            else:
                self._loop.call_soon(self._go_on)
        except Malformed as malformed:
            self._refuse(malformed)
        self._looking = False
        if at < len(data) and self._ended is None:
            self._keep(data[at:], anew=at > 0 or not before)
        if self._outgoing:
            self._send()

    def _keep(self, rest: bytes, *, anew: bool) -> None:
        """What is looked at later; `anew` where its first byte was not there before."""
        if anew:
            self._since = self._loop.time()
        if not self._hold(rest):
            self._hold(b"")
            if self._request is None:
                self._refuse(self._desk.bodies.crowded())
            else:  # of the questions behind it nothing is known any more
                self._pause()
                self.farewell()
        elif self._request is None:
            self._tick_within(patience.TICK)
        elif len(rest) > AHEAD:
            self._pause()

    def _hold(self, ahead: bytes) -> bool:
        """Keeps this and nothing else of what has come; whether there is room for it."""
        if ahead is self._ahead:
            return True
        before, self._ahead = len(self._ahead), ahead
        return self._desk.bodies.hold(len(ahead) - before)

    def _begin(self, data: bytes, at: int, end: int) -> int:
        """A request, whose head is all there; where what follows it begins."""
        self._head = head = http1.head(data[at:end])
        request = self._request = Request(self._desk, head, self)
        self._last = request.arrived
        length, there = head.length, len(data) - end
        if length <= there and not head.chunked:
            self._more = length < there
            if length:
                request.add(data[end : end + length])
            request.complete()
            return end + length
        try:
            self._desk.bodies.expect(length)
        except Refused as refused:
            request.refuse(refused)
            return end
        self._left, self._chunked = length, Chunked() if head.chunked else None
        if head.expects and not there:
            self._outgoing.append(http1.CONTINUE)
        self._tick_within(patience.TICK)
        return end

    def _check_unfinished(self, data: bytes, at: int) -> None:
        """Raises Malformed where what there is of a head tells already that it is none."""
        if len(data) - at > http1.LARGEST_HEAD:
            raise http1.too_long()
        if at < len(data) and not http1.may_be_head(data[at : at + 1]) and data[at:] != b"\r":
            raise Malformed(400, "Not an HTTP/1.1 request")

    def _receive(self, data: bytes, at: int) -> int:
        """More of a body; where what follows begins."""
        request = cast(Request, self._request)
        if self._chunked is not None:
            piece, end = self._chunked.take(data, at)
            ended = self._chunked.ended
        else:
            end = min(at + self._left, len(data))
            piece = data[at:end]
            self._left -= end - at
            ended = not self._left
        request.add(piece)
        if ended and not request.over:
            self._chunked, self._more = None, end < len(data)
            request.complete()
        return end

    def _refuse(self, refused: Refused) -> None:
        """What cannot be understood is counted as a request, too."""
        request = self._request
        if request is None:
            self._head = http1.UNREADABLE
            request = self._request = Request(self._desk, self._head, self)
        request.refuse(refused)

    def _send(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport.is_closing():
            return
        if len(outgoing) == 1:
            self._transport.write(outgoing[0])
        else:
            self._transport.writelines(outgoing)
        if self._ended is not None and not self._transport.is_closing():
            # closing altogether before the client has said all could cost it our answer
            with contextlib.suppress(OSError):
                self._transport.write_eof()
            self._resume()
            self._tick_within(patience.TICK)

    def _drop(self) -> None:
        """The client has gone."""
        request, self._request = self._request, None
        self._hold(b"")
        self._left, self._chunked = 0, None
        if request is not None:
            request.leave()

    def _hasten(self, now: float) -> None:
        request = self._request
        if request is not None:
            if request.overdue(now):
                request.refuse(self._desk.bodies.refusal())
        elif self._ahead and self._blocked is None and now - max(self._since, self._last or 0.0) > patience.HEAD_WITHIN:
            self._refuse(Malformed(408, f"The head of the request did not come within {patience.HEAD_WITHIN:g} s"))

    @property
    def _is_busy(self) -> bool:
        return self._request is not None or bool(self._ahead or self._outgoing)

    @property
    def _is_waiting(self) -> bool:
        return self._is_receiving or bool(self._ahead)
