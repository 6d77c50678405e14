"""One call on an HTTP/2 connection: what is still to be sent, and what has come back."""

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


class Stream:
    """A request body is a list of chunks that are never joined; `number` is 0 until the stream is open."""

    __slots__ = (
        "_chunk",
        "_headers",
        "_offset",
        "block",
        "body",
        "chunks",
        "deadline",
        "done",
        "number",
        "over",
        "reset",
        "sent",
        "window",
    )

    def __init__(self, block: bytes, chunks: Sequence[bytes], done: Done, deadline: float = math.inf) -> None:
        self.done = done
        self.deadline = deadline
        """When the call ends in any case, on the loop's clock."""
        self.over = False
        """Whether the call has ended, for us."""
        self.number = 0
        self.block = block
        self.chunks = chunks
        self.window = 0
        self.sent = False
        """Whether everything has been handed to the transport, END_STREAM included."""
        self.reset = False
        """Whether the peer knows that the stream is over."""
        self.body: list[bytes] = []
        self._headers: list[Headers] = []
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

    def _cut(self, chunk: bytes, room: int) -> bytes:
        return chunk[self._offset : self._offset + room]

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
