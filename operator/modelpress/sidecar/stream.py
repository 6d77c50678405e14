"""One message on an HTTP/2 connection: what is still to be sent, and what has come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from modelpress.sidecar.headers import Headers


class UpstreamResponse(NamedTuple):
    """A complete response. A response of trailers only has no headers."""

    headers: Headers
    body: bytes
    trailers: Headers


class Unprocessed(Exception):
    """The peer has certainly not looked at the request: it may be sent again."""


class Reset(Exception):
    """The call was broken off after the peer may have begun it; `code` is the HTTP/2 error code, None without one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


_made = tuple.__new__
"""Makes a named tuple of a tuple in half the time that its own constructor takes."""

Done = Callable[[UpstreamResponse | None, Exception | None], None]
"""Told once how a call ended: by a response, or by Unprocessed, Reset or TimeoutError."""


class Sending:
    """A message on its way out. Its body is a list of chunks that are never joined."""

    __slots__ = ("_chunk", "_offset", "block", "chunks", "number", "sent", "trailers", "window")

    def __init__(
        self, block: bytes, chunks: Sequence[bytes], *, number: int = 0, window: int = 0, trailers: bytes = b""
    ) -> None:
        self.number = number
        """0 until the stream is open."""
        self.block = block
        self.chunks = chunks
        self.trailers = trailers
        """A header block; without one the body ends the stream."""
        self.window = window
        self.sent = False
        """Whether everything has been handed to the transport, END_STREAM included."""
        self._chunk = 0
        self._offset = 0

    def take(self, room: int) -> tuple[list[bytes], int]:
        """The next pieces of the body, `room` bytes at most, and their length; sets `sent` with the last."""
        pieces: list[bytes] = []
        length = 0
        while self._chunk < len(self.chunks) and length < room:
            chunk = self.chunks[self._chunk]
            piece = chunk if not self._offset and len(chunk) <= room - length else self._cut(chunk, room - length)
            pieces.append(piece)
            length += len(piece)
            self._offset += len(piece)
            if self._offset >= len(chunk):
                self._chunk += 1
                self._offset = 0
        self.sent = self._chunk >= len(self.chunks)
        return pieces, length

    def finished(self) -> None:
        """Told once after the last of what had to wait for the peer was handed to the transport."""

    def _cut(self, chunk: bytes, room: int) -> bytes:
        return chunk[self._offset : self._offset + room]


class Stream(Sending):
    """A request to the model server, and what has come back."""

    __slots__ = ("_headers", "body", "deadline", "done", "over", "reset")

    def __init__(self, block: bytes, chunks: Sequence[bytes], done: Done, deadline: float = math.inf) -> None:
        Sending.__init__(self, block, chunks)
        self.done = done
        self.deadline = deadline
        """When the call ends in any case, on the loop's clock."""
        self.over = False
        """Whether the call has ended, for us."""
        self.reset = False
        """Whether the peer knows that the stream is over."""
        self.body: list[bytes] = []
        self._headers: list[Headers] = []

    def add_headers(self, headers: Headers) -> None:
        """A header block; interim responses (1xx) are left out."""
        if not (headers and headers[0][0] == b":status" and headers[0][1].startswith(b"1")):
            self._headers.append(headers)

    def response(self) -> UpstreamResponse:
        """What has come back, once it is complete; raises Reset where that is no response."""
        if not self._headers:
            raise Reset("The model server ended the stream without headers")
        trailers = self._headers[-1]
        headers = self._headers[0] if len(self._headers) > 1 else ()
        body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        return _made(UpstreamResponse, (headers, body, trailers))
