"""What a connection sends: bodies within the peer's windows and frame size, all of a loop turn in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from modelpress.sidecar import frames
from modelpress.sidecar.frames import Code, ProtocolError, Setting
from modelpress.sidecar.stream import Sending

_SHORT = 16_384
"""Bytes up to which a body is sent as one frame and copied, rather than handed on as it is."""
_AT_ONCE = 1 << 20
"""Bytes of bodies that are handed over before the transport has told whether it takes more."""


class Windowed(Protocol):
    """What has a stream of its own."""

    window: int
    """Bytes that the peer takes on it."""


class Outbox:
    """The sending half of an HTTP/2 connection; `transport` is set as soon as there is one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, largest_frame: int) -> None:
        self._loop = loop
        self._largest_frame = largest_frame
        self.transport: asyncio.Transport | None = None
        self._blocked: dict[int, Sending] = {}
        self._window = frames.DEFAULT_WINDOW
        self.stream_window = frames.DEFAULT_WINDOW
        """Bytes that the peer takes on a new stream."""
        self._frame_size = frames.DEFAULT_FRAME
        self._pieces: list[bytes] = []
        self._bulky = False
        self._handed = 0
        """Bytes of bodies among the pieces."""
        self._flush_scheduled = False
        self._paused = False
        self._corked = False

    @property
    def paused(self) -> bool:
        """Whether the peer does not read what it is sent."""
        return self._paused

    @property
    def blocked(self) -> int:
        """Messages that wait for the peer's windows."""
        return len(self._blocked)

    @property
    def corked(self) -> bool:
        """Whether what is sent waits for `uncork`."""
        return self._corked

    def cork(self) -> None:
        """What is sent from now on waits for `uncork`, instead of the end of the loop's turn."""
        self._corked = True

    def uncork(self) -> None:
        """Hands over what was sent meanwhile."""
        self._corked = False
        if self._pieces:
            self.flush()

    def send(self, data: bytes) -> None:
        """Bytes that no window holds back."""
        self._pieces.append(data)
        if not (self._flush_scheduled or self._corked):
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hands everything to the transport; small pieces are joined, which costs less than to pass them one by one."""
        self._flush_scheduled = False
        if self._pieces and self.transport is not None and not self.transport.is_closing():
            if self._bulky:
                self.transport.writelines(self._pieces)
            else:
                self.transport.write(b"".join(self._pieces))
        self._pieces.clear()
        self._bulky = False
        self._handed = 0

    def shut(self) -> None:
        """Hands over what there is, and drops all that is sent from now on."""
        self.flush()
        self.transport = None

    def open(self, stream: Sending) -> None:
        """Sends the header block of a stream that has got its number, and as much of the body as may go."""
        stream.window = self.stream_window
        block = stream.block
        if len(stream.chunks) == 1 and self._send_whole(stream, block, stream.chunks[0]):
            return
        self._send_block(stream.number, block)
        self._push(stream)

    def begin(self, sending: Sending) -> bool:
        """Sends a message on a stream that the peer has opened; False where some of it has to wait."""
        self._send_block(sending.number, sending.block)
        sending.sent = not sending.chunks
        self._push(sending)
        return sending.sent

    def admits(self, length: int, window: int) -> bool:
        """Whether a body of `length` bytes may go out at once, in one frame, on a stream whose window is `window`.

        It is taken from the connection's window: the caller has to send it.
        """
        if length > _SHORT or length > window or length > self._window or self._paused:
            return False
        self._window -= length
        return True

    def forget(self, stream: Sending) -> None:
        """Nothing more of this stream is to be sent."""
        self._blocked.pop(stream.number, None)

    def clear(self) -> None:
        """Nothing more is to be sent at all."""
        self._blocked.clear()
        self._pieces.clear()

    def pause(self) -> None:
        """The transport has enough for now."""
        self._paused = True

    def resume(self) -> None:
        """The transport takes more."""
        self._paused = False
        self._unblock()

    def widen(self, increment: int) -> None:
        """The peer takes more on the connection."""
        self._window += increment
        if self._window > frames.LARGEST_WINDOW:
            raise ProtocolError(Code.FLOW_CONTROL_ERROR, "Connection window overflow")
        self._unblock()

    def widen_stream(self, stream: Sending, increment: int) -> None:
        """The peer takes more of one stream."""
        stream.window += increment
        if stream.window > frames.LARGEST_WINDOW:
            raise ProtocolError(Code.FLOW_CONTROL_ERROR, "Stream window overflow")
        if stream.number in self._blocked:
            self._push(stream)

    def configure(self, values: dict[int, int], streams: Iterable[Windowed]) -> None:
        """The peer's settings; a new initial window changes the windows of all open streams (RFC 9113, 6.9.2)."""
        frame_size = values.get(Setting.MAX_FRAME_SIZE, self._frame_size)
        if not frames.DEFAULT_FRAME <= frame_size <= frames.LARGEST_FRAME:
            raise ProtocolError(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {frame_size}")
        if values.get(Setting.ENABLE_PUSH, 0) > 1:
            raise ProtocolError(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        self._frame_size = min(frame_size, self._largest_frame)
        window = values.get(Setting.INITIAL_WINDOW_SIZE, self.stream_window)
        if window > frames.LARGEST_WINDOW:
            raise ProtocolError(Code.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large")
        for stream in streams:
            stream.window += window - self.stream_window
            if stream.window > frames.LARGEST_WINDOW:
                raise ProtocolError(Code.FLOW_CONTROL_ERROR, "Stream window overflow")
        self.stream_window = window
        self._unblock()

    def _send_block(self, number: int, block: bytes, flags: int = 0) -> None:
        if len(block) <= self._frame_size:
            self.send(frames.head(frames.HEADERS, flags | frames.END_HEADERS, number, len(block)) + block)
            return
        for start in range(0, len(block), self._frame_size):
            piece = block[start : start + self._frame_size]
            last = frames.END_HEADERS if start + self._frame_size >= len(block) else 0
            if start:
                self.send(frames.frame(frames.CONTINUATION, last, number, piece))
            else:
                self.send(frames.frame(frames.HEADERS, flags | last, number, piece))

    def _send_whole(self, stream: Sending, block: bytes, body: bytes) -> bool:
        """A short request in one go, which most are; False where anything stands against it."""
        length = len(body)
        most = min(self._window, stream.window, self._frame_size, _SHORT)
        if length > most or len(block) > self._frame_size or self._paused:
            return False
        self._window -= length
        stream.window -= length
        stream.sent = True
        number = stream.number
        head = frames.head(frames.HEADERS, frames.END_HEADERS, number, len(block))
        self.send(head + block + frames.head(frames.DATA, frames.END_STREAM, number, length))
        self._pieces.append(body)
        return True

    def _push(self, stream: Sending) -> None:
        """Sends as much of the body as the windows and the transport allow."""
        while not stream.sent:
            room = min(self._window, stream.window, self._frame_size)
            if room <= 0 or self._paused:
                self._blocked[stream.number] = stream
                return
            pieces, length = stream.take(room)
            self._window -= length
            stream.window -= length
            flags = frames.END_STREAM if stream.sent and not stream.trailers else 0
            self.send(frames.head(frames.DATA, flags, stream.number, length))
            self._pieces.extend(pieces)
            self._bulky = self._bulky or length > _SHORT
            self._handed += length
            if self._handed >= _AT_ONCE:
                self.flush()
        if stream.trailers:
            self._send_block(stream.number, stream.trailers, frames.END_STREAM)
        if self._blocked.pop(stream.number, None) is not None:
            stream.finished()

    def _unblock(self) -> None:
        for stream in list(self._blocked.values()):
            if self._window <= 0 or self._paused:
                return
            self._push(stream)
