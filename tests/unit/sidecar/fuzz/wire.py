"""What gRPC clients send on one HTTP/2 connection, to our side of it and to hpack by itself as a second opinion."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections import defaultdict
from collections.abc import Awaitable
from typing import Any, NamedTuple

import hpack

from modelpress.sidecar import frames, grpc_codes, parting
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.body import Bodies
from modelpress.sidecar.connections import Connections
from modelpress.sidecar.frames import Code, ProtocolError, Setting
from modelpress.sidecar.grpc_codes import HEADERS, OK_TRAILERS
from modelpress.sidecar.grpc_connection import GrpcConnection
from modelpress.sidecar.head import Head
from modelpress.sidecar.headers import encode
from modelpress.sidecar.measures import Measures, Protocol
from modelpress.sidecar.nuisance import Nuisance
from modelpress.sidecar.observation import Observer
from modelpress.sidecar.reason import Bypass, Refusal, Refused
from modelpress.sidecar.request import Desk, Request

LARGEST = 2000
NUISANCE = 60
"""What is borne of frames that bring nothing: inputs are short."""
STEP = 4
"""Bytes after which we take leave, times the input's second byte; 0: never."""
HEAD = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.B/now"),
    (b":authority", b"x"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)
LATER = tuple((name, value.replace(b"now", b"later")) for name, value in HEAD)


class Echo:
    """Answers with what was asked, at once, or later where the path says so."""

    protocol = "grpc"

    def __init__(self) -> None:
        self.observer: Observer | None = None
        self.counts = Protocol()
        self.asked: dict[int, tuple[str, bytes]] = {}

    def begin(self, request: Request) -> Answer | Awaitable[Answer]:
        assert request.stream not in self.asked, "One stream was asked twice"
        told = self.asked[request.stream] = request.head.path, b"".join(request.body.chunks)
        self.counts.bypassed[Bypass.NOT_CACHEABLE] += 1
        answer = Answer(200, HEADERS, repr(told).encode(), OK_TRAILERS)
        return self._later(answer) if "later" in request.head.path else answer

    async def _later(self, answer: Answer) -> Answer:
        await asyncio.sleep(0)
        return answer

    def refusal(self, refused: Refused) -> Answer:
        return grpc_codes.refusal(refused)

    def failure(self) -> Answer:
        raise AssertionError("A request could not be answered")

    def is_keyed(self, head: Head) -> bool:
        return True

    def code(self, answer: Answer) -> str:
        return grpc_codes.status(answer)


class Wire(asyncio.Transport):
    """Keeps what is written; as real ones, it takes nothing any more once our side has ended."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 2), "socket": self})
        self.written = bytearray()
        self.closed = self.eof = False

    def setsockopt(self, *_: object) -> None:
        """A socket, too."""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.closed and not self.eof
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        """Nothing is paused here."""

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    close = abort


class Heard(NamedTuple):
    """What came of a talk; answers by stream: their frames but for how DATA was cut."""

    asked: dict[int, tuple[str, bytes]]
    answers: dict[int, list[tuple[str, bytes]]]
    parted: list[bytes]
    """GOAWAY."""
    ended: bool
    told: bytes
    """What is no HTTP/2."""


async def heard(pieces: list[bytes], leave: int) -> Heard:
    """Our side, which gets the pieces one by one, and takes leave before that of number `leave`."""
    service, measures, wire = Echo(), Measures(), Wire()
    loop = asyncio.get_running_loop()
    desk = Desk(service, Bodies(measures, largest=LARGEST, total=4 * LARGEST), measures, loop.time)
    clients = Connections()
    connection = GrpcConnection(desk, clients)
    connection._nuisance = Nuisance(lambda: 0.0)
    connection._nuisance._left = NUISANCE
    connection.connection_made(wire)
    for number, piece in enumerate(pieces):
        if number == leave:
            connection.farewell()
        if not wire.closed:
            connection.data_received(piece)
    for _ in range(6):
        await asyncio.sleep(0)
    ended = wire.eof or wire.closed
    connection.connection_lost(None)
    for _ in range(3):
        await asyncio.sleep(0)
    counts = service.counts
    assert counts.requests == counts.outcomes
    assert counts.responses.total() <= counts.requests
    assert counts.responses.total() + counts.refused[Refusal.CLIENT_GONE] >= counts.requests - len(service.asked)
    assert measures.active == 0 == measures.body_bytes
    assert not clients.open
    return _told(service, bytes(wire.written), ended=ended)


def _told(service: Echo, written: bytes, *, ended: bool) -> Heard:
    """Reads what we have written, which must make sense to a client."""
    if written.startswith(b"HTTP/1.1 "):
        return Heard({}, {}, [], ended, written)
    decoder, splitter = hpack.Decoder(), frames.Splitter(1 << 24)
    answers: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
    over, parted = set(), []
    for kind, flags, stream, payload in splitter.feed(written):
        if kind == frames.GOAWAY:
            parted.append(payload)
        if kind == frames.RST_STREAM:
            assert stream not in over or frames.number(payload) == Code.NO_ERROR
            answers[stream].append(("reset", payload))
            over.add(stream)
        if kind not in (frames.HEADERS, frames.DATA):
            continue
        assert stream not in over, f"Something comes on stream {stream} after its end"
        mine = answers[stream]
        if kind == frames.HEADERS:
            mine.append(("headers", repr(decoder.decode(payload, raw=True)).encode()))
            assert [name for name, _ in mine].count("headers") <= 2
        elif mine[-1][0] == "data":
            mine[-1] = "data", mine[-1][1] + payload
        else:
            mine.append(("data", payload))
        if flags & frames.END_STREAM:
            over.add(stream)
    for stream in over & service.asked.keys():
        data = b"".join(payload for name, payload in answers[stream] if name == "data")
        assert data in (b"", repr(service.asked[stream]).encode())
    return Heard(service.asked, dict(answers), parted, ended, b"")


def second_opinion(data: bytes) -> tuple[dict[int, str], int]:
    """The paths by stream as hpack reads them, and bytes that the client takes on the connection at most."""
    decoder = hpack.Decoder(max_header_list_size=parting.HEADERS_SIZE)
    paths: dict[int, str] = {}
    window, block = frames.DEFAULT_WINDOW, b""
    with contextlib.suppress(ProtocolError, hpack.HPACKError):
        for frame in frames.Splitter(1 << 20).feed(data.removeprefix(frames.PREFACE)):
            kind, flags, stream, payload = frame
            if kind == frames.WINDOW_UPDATE and not stream:
                window += frames.number(payload) & frames.LARGEST_WINDOW
            if kind in (frames.HEADERS, frames.CONTINUATION):
                block = frames.unpadded(frame) if kind == frames.HEADERS else block + payload
                if flags & frames.END_HEADERS:
                    found = dict(decoder.decode(block, raw=True))
                    paths.setdefault(stream, bytes(found.get(b":path", b"")).decode("latin-1").partition("?")[0])
    return paths, window


class Talk:
    """One connection: its first byte says how the rest is cut, which must not matter, the second when we take leave."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, data: bytes) -> str:
        size, leave, data = (data[0] if data else 0) % 40 + 1, (data[1] if data[1:] else 0) * STEP, data[2:]
        before, after = (data[:leave], data[leave:]) if leave else (data, b"")
        whole = self._hear([before], [after])
        pieces = self._hear(_cut(before, size), _cut(after, size))
        assert whole == pieces, f"{whole} in one piece, {pieces} in pieces of {size}"
        paths, window = second_opinion(data)
        assert all(paths[stream] == path for stream, (path, _) in whole.asked.items())
        sent = [payload for told in whole.answers.values() for name, payload in told if name == "data"]
        assert sum(map(len, sent)) <= window
        return self._outcome(whole)

    def _hear(self, before: list[bytes], after: list[bytes]) -> Heard:
        pieces = [piece for piece in (*before, *after) if piece]
        leave = len([piece for piece in before if piece]) if any(after) else -1
        return self._loop.run_until_complete(heard(pieces, leave))

    def _outcome(self, told: Heard) -> str:
        if told.told:
            return "foreign"
        if any(payload[4:8] != bytes(4) for payload in told.parted):
            return "broken"
        if told.ended:
            return "parted"
        return "answered" if told.asked else "waiting"


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _headers(stream: int, block: bytes, *, end: bool = False) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | (frames.END_STREAM if end else 0), stream, block)


def _call(stream: int, block: bytes, body: bytes = b"\0\0\0\0\1x") -> bytes:
    return _headers(stream, block) + frames.frame(frames.DATA, frames.END_STREAM, stream, body)


def a_talk(chance: random.Random) -> bytes:
    """Frames most of which are as they should be."""
    encoder = hpack.Encoder()
    parts = [frames.PREFACE, frames.settings({})]
    for stream in range(1, 2 * chance.randrange(1, 7), 2):
        parts.append(_extra(chance, stream))
        fields = chance.choice((HEAD, HEAD, LATER, (*HEAD, (b"x-a", chance.choice((b"1", b"2"))))))
        block = encoder.encode(fields) if chance.randrange(3) else encode(fields)
        if chance.randrange(8) == 0:
            encoder.header_table_size = chance.choice((0, 0, 64, 4096))
        parts.append(_opened(chance, stream, block))
        left = chance.choice((0, 5, 100, 100, LARGEST, LARGEST + 1))
        while left > 0:
            size = min(left, chance.choice((1, 50, 1000)))
            left -= size
            parts.append(frames.frame(frames.DATA, 0, stream, bytes(size)))
            parts.append(_extra(chance, stream) if chance.randrange(6) == 0 else b"")
        if chance.randrange(8):
            parts.append(frames.frame(frames.DATA, frames.END_STREAM, stream))
    return bytes((chance.randrange(256), chance.choice((0, 0, chance.randrange(256))))) + b"".join(parts)


def _opened(chance: random.Random, stream: int, block: bytes) -> bytes:
    if chance.randrange(4):
        return _headers(stream, block)
    middle = chance.randrange(len(block) + 1)
    return frames.frame(
        frames.HEADERS, frames.PADDED | frames.HAS_PRIORITY, stream, b"\2" + bytes(5) + block[:middle] + bytes(2)
    ) + (frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream, block[middle:]))


def _extra(chance: random.Random, stream: int) -> bytes:
    """Something between the frames of a request."""
    window = chance.choice((0, 1, 10, 65_535, frames.LARGEST_WINDOW))
    earlier = max(stream - 2 * chance.randrange(3), 1)
    return chance.choice(
        (
            b"",
            b"",
            frames.settings({Setting.INITIAL_WINDOW_SIZE: window}),
            frames.settings({Setting.HEADER_TABLE_SIZE: 0, Setting.MAX_FRAME_SIZE: 1 << 15}),
            frames.credit(0, chance.choice((1, 1000))),
            frames.credit(earlier, chance.choice((1, 1000))),
            frames.frame(frames.RST_STREAM, 0, earlier, struct.pack(">I", Code.CANCEL)),
            frames.frame(frames.PING, chance.choice((0, frames.ACK)), 0, b"farewell"),
            frames.frame(chance.randrange(11, 256), chance.randrange(256), stream, b"unknown"),
            frames.frame(frames.PRIORITY, 0, stream, bytes(5)),
            frames.frame(frames.PING, 0, 0, bytes(8)) * chance.choice((1, 1, NUISANCE)),
        )
    )


def seeds() -> tuple[bytes, ...]:
    """One of each kind, whole and cut, with and without a farewell."""
    hello, now, later = frames.PREFACE + frames.settings({}), encode(HEAD), encode(LATER)
    shut = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0})
    pong = frames.frame(frames.PING, frames.ACK, 0, b"farewell")
    talks = (
        hello + _call(1, now) + _call(3, later) + _call(5, now),
        hello + _call(1, later) + pong + _call(3, now) + pong,
        shut + _call(1, now) + frames.credit(1, 5) + frames.settings({Setting.INITIAL_WINDOW_SIZE: 100}),
        hello + _headers(1, now) + frames.frame(frames.DATA, 0, 1, bytes(LARGEST + 1)) + _call(3, now),
        hello + _call(1, b"\x20" + now) + _call(3, now) + _call(5, b"\x3f\xe1\x1f" + now + b"\x40\x01a\x01b"),
        b"POST / HTTP/1.1\r\n\r\n",
    )
    return tuple(bytes((size, leave)) + talk for size in (0, 6, 39) for leave in (0, 20) for talk in talks)


PIECES = (
    b"\x00\x00\x00\x01\x05\x00\x00\x00\x07",
    b"\x00\x00\x00\x00\x01\x00\x00\x00\x01",
    frames.frame(frames.PING, frames.ACK, 0, b"farewell"),
    frames.credit(0, 1),
    frames.credit(1, 1),
    frames.settings({Setting.INITIAL_WINDOW_SIZE: 3}),
    b"\x3f\xe1\x1f",
    b"\xbe",
    b"\x40\x01a\x01b",
)
