"""Load of which no two requests are equal: what h2load cannot send, and misses need.

Frames are made once and patched, and answers are told by their bytes, so that one core is enough for load and upstream.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import statistics
import struct
import time
from typing import NamedTuple

from benchmarks.sidecar.requests import PREDICT

from modelpress.sidecar import frames
from modelpress.sidecar.frames import Setting
from modelpress.sidecar.headers import encode

_BLOCK = encode(
    (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", PREDICT.encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)
_NO_TABLE = b"\x20"
"""What every client says once that keeps no dynamic table (RFC 7541, 4.2), as servers may ask of it."""
_SEEDS = itertools.count(time.time_ns())


class Timing(NamedTuple):
    """How long a run took, in seconds, and each of its requests."""

    seconds: float
    each: list[float]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.each) / self.seconds

    @property
    def median(self) -> float:
        """Microseconds."""
        return statistics.median(self.each) * 1e6


class _Client:
    """One connection with a number of streams under way."""

    def __init__(self, port: int, body: bytes, expected: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wide = frames.LARGEST_WINDOW
        hello = frames.settings({Setting.HEADER_TABLE_SIZE: 0, Setting.INITIAL_WINDOW_SIZE: wide})
        credit = frames.frame(frames.WINDOW_UPDATE, 0, 0, (wide - frames.DEFAULT_WINDOW).to_bytes(4, "big"))
        self.socket.sendall(frames.PREFACE + hello + credit)
        self._expected = expected
        self._body = body
        self._number = 1
        self._block = _NO_TABLE + _BLOCK
        self._sent_at: dict[int, float] = {}
        self._good: set[int] = set()
        self._rest = b""
        self._room = frames.DEFAULT_WINDOW
        self.each: list[float] = []

    def ask(self, count: int) -> None:
        """Sends requests; the eight bytes before the last tag are another value in each."""
        pieces: list[bytes] = []
        now = time.perf_counter()
        for _ in range(count):
            number = self._number
            self._number += 2
            body = self._body[:-8] + struct.pack("<Q", next(_SEEDS) & 0x7F7FFFFF7F7FFFFF)
            pieces += (frames.head(frames.HEADERS, frames.END_HEADERS, number, len(self._block)), self._block)
            self._block = _BLOCK
            pieces += (frames.head(frames.DATA, frames.END_STREAM, number, len(body)), body)
            self._sent_at[number] = now
        self.socket.sendall(b"".join(pieces))

    def hear(self) -> int:
        """Reads what has come; the number of answers that are complete."""
        data = self._rest + self.socket.recv(1 << 18)
        position, end, done, replies = 0, len(data), 0, b""
        while end - position >= 9:
            after = position + 9 + int.from_bytes(data[position : position + 3], "big")
            if after > end:
                break
            kind, flags = data[position + 3], data[position + 4]
            number = int.from_bytes(data[position + 5 : position + 9], "big")
            if kind == frames.DATA:
                if data[position + 9 : after] == self._expected:
                    self._good.add(number)
            elif kind == frames.SETTINGS and not flags & frames.ACK:
                replies += frames.frame(frames.SETTINGS, frames.ACK, 0)
            elif kind == frames.PING and not flags & frames.ACK:
                replies += frames.frame(frames.PING, frames.ACK, 0, data[position + 9 : after])
            if kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM:
                self._good.remove(number)  # a KeyError is an answer that is not the expected one
                self.each.append(time.perf_counter() - self._sent_at.pop(number))
                done += 1
            position = after
        self._rest = data[position:]
        if replies:
            self.socket.sendall(replies)
        return done


def load(port: int, body: bytes, expected: bytes, *, requests: int, connections: int = 8, streams: int = 8) -> Timing:
    """Sends `requests` framed messages, all different; `expected` is the framed answer. Raises KeyError on another."""
    selector = selectors.DefaultSelector()
    clients = [_Client(port, body, expected) for _ in range(connections)]
    try:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        left = requests
        started = time.perf_counter()
        for client in clients:
            first = min(streams, left)
            left -= first
            client.ask(first)
        missing = requests
        while missing:
            for key, _ in selector.select(30) or _silent():
                done = key.data.hear()
                missing -= done
                more = min(done, left)
                left -= more
                if more:
                    key.data.ask(more)
        seconds = time.perf_counter() - started
    finally:
        selector.close()
        for client in clients:
            client.socket.close()
    return Timing(seconds, [each for client in clients for each in client.each])


def _silent() -> list[tuple[selectors.SelectorKey, int]]:
    raise TimeoutError("No answer for 30 seconds")
