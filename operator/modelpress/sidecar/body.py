"""Request bodies: as chunks that are not joined, no larger than allowed, one by one and all together."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from modelpress.sidecar.key import SHORT
from modelpress.sidecar.measures import Measures
from modelpress.sidecar.reason import Refusal, Refused

Chunks = list[bytes]

SHORT_SHARE = 32
"""A body is short up to one part in so many of the largest."""
RESERVE_SHARE = 5
"""One part in so many of what all bodies may hold is for short ones."""
CRUMB, HEAP = 4096, 65_536
"""Bytes below which a piece is a crumb, and up to which crumbs are put together."""
IDLE = 10.0
"""Seconds between two pieces."""


class Body:
    """What has come of one body. Crumbs are put together: as objects of their own they would take far more room.

    A long one that is `keyed` is hashed piece by piece as it comes: later its bytes would have left the processor's
    caches, which costs more than twice as much.
    """

    __slots__ = ("_hasher", "_heap", "_keyed", "_pieces", "length")

    def __init__(self, *, keyed: bool = False) -> None:
        self._pieces: Chunks = []
        self._heap: bytearray | None = None
        self._keyed = keyed
        self._hasher: Any = None
        self.length = 0

    @property
    def digest(self) -> bytes | None:
        """BLAKE3 of it all, None where it was not hashed."""
        return None if self._hasher is None else self._hasher.digest()

    @property
    def chunks(self) -> Chunks:
        """The pieces in their order."""
        if self._heap is not None:
            self._settle()
        return self._pieces

    def add(self, chunk: bytes) -> None:
        """The next bytes."""
        self.length += len(chunk)
        self._put(chunk)
        if self._hasher is not None:
            self._hasher.update(chunk)
        elif self._keyed and self.length > SHORT:
            self._hasher = blake3()
            for piece in self.chunks:
                self._hasher.update(piece)

    def _put(self, chunk: bytes) -> None:
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

    def clear(self) -> None:
        """Holds nothing any longer; who has taken the pieces keeps them."""
        self._pieces, self._heap, self._hasher, self.length = [], None, None, 0

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

    def add(self, body: Body, chunk: bytes) -> None:
        """Adds a piece; raises Refused where a body, or all together, become too large."""
        if chunk:
            body.add(chunk)
            self._measures.body_bytes += len(chunk)
            if body.length > self.largest or self._measures.body_bytes > self._room(body.length):
                raise self._too_much(body.length)

    def expect(self, length: int) -> None:
        """Raises Refused where a body is going to be too large."""
        if length > self.largest:
            raise self._too_much(length)

    def release(self, body: Body) -> None:
        """The body is no longer held."""
        self._measures.body_bytes -= body.length
        body.clear()

    def hold(self, more: int) -> bool:
        """Counts bytes that are no body yet, or no longer held where there are less than 0; whether there is room."""
        self._measures.body_bytes += more
        return more <= 0 or self._measures.body_bytes <= self.total

    def too_slow(self, since_begun: float, since_heard: float) -> bool:
        """Whether a body that is not whole is waited for no longer; both in seconds."""
        return since_begun > self.patience or since_heard > min(IDLE, self.patience)

    def refusal(self) -> Refused:
        """How one is told that it came too slowly."""
        return Refused(Refusal.DEADLINE, f"The request did not come within {self.patience:g} s")

    def crowded(self, length: int = 0) -> Refused:
        """How one of this length is told that there is no room."""
        message = f"The requests in progress hold more than {self._room(length)} bytes"
        return Refused(Refusal.MEMORY, message, retry_after=1.0)

    def _room(self, length: int) -> int:
        """Bytes that all bodies may hold when one of this length grows."""
        return self.total if length <= self.largest // SHORT_SHARE else self.total - self.total // RESERVE_SHARE

    def _too_much(self, length: int) -> Refused:
        if length > self.largest:
            return Refused(Refusal.TOO_LARGE, f"The request is larger than {self.largest} bytes")
        return self.crowded(length)
