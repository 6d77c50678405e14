"""What HTTP/1.1 clients send on one connection, to our side of it and to another library as a second opinion."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Any, NamedTuple

import h11

from modelpress.sidecar import rest_connection
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.body import Bodies
from modelpress.sidecar.connections import Connections
from modelpress.sidecar.head import Head
from modelpress.sidecar.http1 import CONTINUE, Malformed
from modelpress.sidecar.measures import Measures, Protocol
from modelpress.sidecar.observation import Observer
from modelpress.sidecar.reason import Bypass, Refusal, Refused
from modelpress.sidecar.request import Desk, Request
from modelpress.sidecar.rest_connection import RestConnection

LARGEST = 4096
rest_connection.TURN = 3
PATIENCE = 1000
"""Turns of the loop within which everything that has come is answered."""


class Asked(NamedTuple):
    """A request as it was understood."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Echo:
    """Answers at once, or later where the path says so."""

    protocol = "http"

    def __init__(self) -> None:
        self.observer: Observer | None = None
        self.counts = Protocol()
        self.asked: list[Asked] = []

    def begin(self, request: Request) -> Answer | Awaitable[Answer]:
        head = request.head
        self.asked.append(
            Asked(
                head.method,
                head.path + ("?" if head.query else "") + head.query.decode("latin-1"),
                head.headers,
                b"".join(request.body.chunks),
            )
        )
        answer = Answer(200, (), repr(self.asked[-1]).encode())
        self.counts.bypassed[Bypass.NOT_CACHEABLE] += 1
        return self._later(answer) if "later" in head.path else answer

    async def _later(self, answer: Answer) -> Answer:
        await asyncio.sleep(0)
        return answer

    def refusal(self, refused: Refused) -> Answer:
        return Answer(refused.status if isinstance(refused, Malformed) else 413, (), b"")

    def failure(self) -> Answer:
        raise AssertionError("A request could not be answered")

    def is_keyed(self, head: Head) -> bool:
        return True

    def code(self, answer: Answer) -> str:
        return str(answer.status)


class Wire(asyncio.Transport):
    """Keeps what is written; as real ones, it takes nothing any more once our side has ended."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 2)})
        self.written = bytearray()
        self.closed = self.eof = self.paused = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.closed and not self.eof
        self.written += data

    def write_eof(self) -> None:
        assert not self.eof
        self.eof = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


class Heard(NamedTuple):
    """What came of a talk."""

    asked: tuple[Asked, ...]
    written: bytes
    ended: bool


async def heard(data: bytes, size: int) -> Heard:
    """Our side, which gets the bytes in pieces of `size`."""
    service, measures, wire = Echo(), Measures(), Wire()
    loop = asyncio.get_running_loop()
    desk = Desk(service, Bodies(measures, largest=LARGEST, total=1 << 20), measures, loop.time)
    clients = Connections()
    connection = RestConnection(desk, clients)
    connection.connection_made(wire)
    for start in range(0, len(data), size):
        if connection._request is not None:  # at times the answer comes first
            await asyncio.sleep(0)
        await _until(lambda: not wire.paused)
        connection.data_received(data[start : start + size])
    await _rest(connection, wire)
    connection.eof_received()
    connection.connection_lost(None)
    await asyncio.sleep(0)
    counts = service.counts
    assert counts.requests == counts.outcomes
    assert counts.responses.total() == counts.requests - counts.refused[Refusal.CLIENT_GONE]
    assert measures.active == 0 == measures.body_bytes
    assert not clients.open
    return Heard(tuple(service.asked), bytes(wire.written), wire.eof)


async def _rest(connection: RestConnection, wire: Wire) -> None:
    """Until nothing more comes of what has been sent."""
    unchanged, before = 0, -1
    while unchanged < 5:
        await _until(lambda: connection._request is None or not connection._request.whole)
        await asyncio.sleep(0)
        unchanged, before = unchanged + 1 if len(wire.written) == before else 0, len(wire.written)


async def _until(condition: Any) -> None:
    for _ in range(PATIENCE):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("It never comes to rest")


def second_opinion(data: bytes) -> list[Asked]:
    """What h11 understands."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    asked: list[Asked] = []
    try:
        while True:
            request, body = connection.next_event(), b""
            if not isinstance(request, h11.Request):
                return asked
            while isinstance(event := connection.next_event(), h11.Data):
                body += bytes(event.data)
            if not isinstance(event, h11.EndOfMessage):
                return asked
            asked.append(Asked(request.method.decode(), request.target.decode(), tuple(request.headers), body))
            connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return asked


class Talk:
    """One connection: the first byte says how what follows is cut, which must not matter."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, data: bytes) -> str:
        cut, data = (data[0] if data else 0) % 40 + 1, data[1:]
        whole, pieces = (self._loop.run_until_complete(heard(data, size)) for size in (len(data) or 1, cut))
        assert _answers(whole) == _answers(pieces), f"{whole} in one piece, {pieces} in pieces of {cut}"
        for ours, theirs in zip(whole.asked, second_opinion(data), strict=False):
            _check_same(ours, theirs)
        if not whole.written:
            return "waiting"
        return "refused" if whole.written.rpartition(b"HTTP/1.1 ")[2][:1] in b"45" else "answered"


def _answers(told: Heard) -> tuple[Any, ...]:
    """Whether a client is asked for its body depends on whether that has come yet."""
    return told.asked, told.written.replace(CONTINUE, b""), told.ended


def _check_same(ours: Asked, theirs: Asked) -> None:
    if not theirs.target.startswith("/"):  # a whole URL, of which we keep path and query
        assert theirs.target.endswith(ours.target.removeprefix("/"))
        return
    assert (ours.method, ours.target, ours.body) == (theirs.method, theirs.target, theirs.body)
    if not any(name == b"connection" for name, _ in theirs.headers):
        assert [name for name, _ in ours.headers] == [name for name, _ in theirs.headers]


def a_talk(chance: random.Random) -> bytes:
    """A few requests, most of them as they should be."""
    return bytes((chance.randrange(256),)) + b"".join(_request(chance) for _ in range(chance.randrange(1, 5)))


def _request(chance: random.Random) -> bytes:
    method, path = chance.choice(("GET", "POST", "HEAD", "PUT")), chance.choice(("/a", "/later?q=1", "http://b/c"))
    lines = [f"{method} {path} HTTP/1.{chance.choice('1110')}", "Host: x"]
    lines += chance.choices(
        ("Accept: */*", "Connection: close", "Connection: keep-alive", "Expect: 100-continue", "X: \t y ", "TE: a"),
        weights=(20, 1, 3, 3, 3, 1),
        k=chance.randrange(4),
    )
    body, framing = chance.randbytes(chance.choice((0, 1, 5, 300, 5000))), chance.randrange(12)
    if framing < 5:
        lines.append(f"Content-Length: {len(body)}")
    elif framing < 10:
        lines.append("Transfer-Encoding: chunked")
        body = _chunked(body.replace(b"\0", b"\r\n\r\n"), chance)
    elif framing < 11:
        lines += ["Content-Length: 2", chance.choice(("Transfer-Encoding: chunked", "Content-Length: 3"))]
    return "\r\n".join((*lines, "", "")).encode() + body


def _chunked(body: bytes, chance: random.Random) -> bytes:
    pieces, at = [], 0
    while at < len(body):
        piece = body[at : at + chance.choice((1, 3, 100, 4000))]
        at += len(piece)
        pieces.append(b"%x%b\r\n%b\r\n" % (len(piece), chance.choice((b"", b"", b";a=b")), piece))
    return b"".join(pieces) + b"0\r\n" + chance.choice((b"", b"", b"X: y\r\n")) + b"\r\n"


def seeds() -> tuple[bytes, ...]:
    """One of each kind, whole and cut."""
    post = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    late = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
    chunks = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    old = b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    expects = post.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    talks = (post * 3, late + post + late, chunks + late, old * 2, expects + post, b"\r\n" + chunks * 2)
    return tuple(bytes((size,)) + talk for size in (0, 6) for talk in talks)


PIECES = (
    b"\r\n\r\n",
    b"\r\n",
    b"\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 1\r\n",
    b"0\r\n\r\n",
    b"1\r\n",
)
