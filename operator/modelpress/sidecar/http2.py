"""One HTTP/2 connection to the model server: unary gRPC calls, multiplexed, as futures.

Fast because header blocks are stateless (see headers), what a turn of the loop sends goes out in one write, and the
receive windows are wide. The peer's windows, frame size, number of streams, GOAWAY and backpressure are honoured.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from hpack import HPACKError

from modelpress.sidecar import frames
from modelpress.sidecar.frames import Code, Frame, ProtocolError, Setting
from modelpress.sidecar.headers import BlockDecoder
from modelpress.sidecar.stream import Reset, Stream, Unprocessed, UpstreamResponse

OUR_FRAME = 1 << 20
_CREDIT_STEP = 1 << 26
_LARGEST_BLOCK = 1 << 18


class Connection(asyncio.Protocol):
    """Made by `loop.create_connection`; `ready` resolves with the peer's first SETTINGS."""

    def __init__(self, on_close: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_close = on_close
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.usable = True
        self._streams: dict[int, Stream] = {}
        self._next_stream = 1
        self._waiting: deque[Stream] = deque()
        self._blocked: dict[int, Stream] = {}
        self._window = frames.DEFAULT_WINDOW
        self._stream_window = frames.DEFAULT_WINDOW
        self._frame_size = frames.DEFAULT_FRAME
        self._max_streams = frames.LARGEST_WINDOW
        self._splitter = frames.Splitter(OUR_FRAME)
        self._decoder = BlockDecoder()
        self._block: tuple[int, int, bytearray] | None = None
        self._received = 0
        self._out: list[bytes] = []
        self._flush_scheduled = False
        self._paused = False
        self._reason = "Connection closed"

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        wide = frames.LARGEST_WINDOW
        self._send(frames.PREFACE)
        self._send(
            frames.settings(
                {
                    Setting.HEADER_TABLE_SIZE: 0,
                    Setting.ENABLE_PUSH: 0,
                    Setting.INITIAL_WINDOW_SIZE: wide,
                    Setting.MAX_FRAME_SIZE: OUR_FRAME,
                }
            )
        )
        self._send(frames.frame(frames.WINDOW_UPDATE, 0, 0, (wide - frames.DEFAULT_WINDOW).to_bytes(4, "big")))

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if exc is not None:
            self._reason = str(exc) or type(exc).__name__
        for stream in [*self._streams.values(), *self._waiting]:
            stream.fail(Reset(self._reason) if stream.number else Unprocessed(self._reason))
        self._streams.clear()
        self._waiting.clear()
        self._blocked.clear()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(self._reason))
            self.ready.exception()  # retrieved: the connector may have given up already
        self._on_close(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._unblock()

    def data_received(self, data: bytes) -> None:
        try:
            for received in self._splitter.feed(data):
                self._handle(received)
        except ProtocolError as error:
            self._abort(error.code, str(error))
        except HPACKError as error:
            self._abort(Code.COMPRESSION_ERROR, f"Header block: {error}")

    # -- calls --------------------------------------------------------------------------------------------------

    def call(
        self, block: bytes, chunks: Sequence[bytes], deadline: float | None = None
    ) -> asyncio.Future[UpstreamResponse]:
        """Sends a request of encoded headers and a body; fails with Unprocessed, Reset or TimeoutError.

        `deadline` is on the loop's clock. Cancelling the future resets the stream.
        """
        stream = Stream(self._loop, block, chunks)
        if deadline is not None:
            stream.timer = self._loop.call_at(deadline, self._time_out, stream)
        stream.future.add_done_callback(lambda future: self._finished(stream, future))
        if not self.usable:
            stream.fail(Unprocessed(self._reason))
        elif len(self._streams) < self._max_streams:
            self._open(stream)
        else:
            self._waiting.append(stream)
        return stream.future

    def close(self, reason: str = "Connection closed") -> None:
        """Takes no more calls; closes as soon as those under way have ended."""
        self.usable = False
        self._reason = reason
        while self._waiting:
            self._waiting.popleft().fail(Unprocessed(reason))
        if not self._streams:
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        self.usable = False
        self._transport.abort()

    # -- sending ------------------------------------------------------------------------------------------------

    def _open(self, stream: Stream) -> None:
        stream.number = self._next_stream
        stream.window = self._stream_window
        self._next_stream += 2
        self._streams[stream.number] = stream
        block = stream.block
        if len(block) <= self._frame_size:
            self._send(frames.head(frames.HEADERS, frames.END_HEADERS, stream.number, len(block)) + block)
        else:
            self._send_long_block(stream.number, block)
        self._push(stream)
        if self._next_stream > frames.LARGEST_WINDOW - 2:
            self.close("Stream numbers used up")

    def _send_long_block(self, number: int, block: bytes) -> None:
        for start in range(0, len(block), self._frame_size):
            piece = block[start : start + self._frame_size]
            last = frames.END_HEADERS if start + self._frame_size >= len(block) else 0
            self._send(frames.frame(frames.CONTINUATION if start else frames.HEADERS, last, number, piece))

    def _push(self, stream: Stream) -> None:
        """Sends as much of the body as the windows and the transport allow."""
        while not stream.sent:
            room = min(self._window, stream.window, self._frame_size)
            if room <= 0 or self._paused:
                self._blocked[stream.number] = stream
                return
            pieces, length = stream.take(room)
            self._window -= length
            stream.window -= length
            flags = frames.END_STREAM if stream.sent else 0
            self._send(frames.head(frames.DATA, flags, stream.number, length))
            self._out.extend(pieces)
        self._blocked.pop(stream.number, None)

    def _unblock(self) -> None:
        for stream in list(self._blocked.values()):
            if self._window <= 0 or self._paused:
                return
            self._push(stream)

    def _send(self, data: bytes) -> None:
        self._out.append(data)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._out and not self._transport.is_closing():
            self._transport.writelines(self._out)
        self._out.clear()

    # -- receiving ----------------------------------------------------------------------------------------------

    def _handle(self, received: Frame) -> None:
        kind = received.kind
        if self._block is not None and kind != frames.CONTINUATION:
            raise ProtocolError(Code.PROTOCOL_ERROR, "A header block was interrupted")
        if kind == frames.DATA:
            self._on_data(received)
        elif kind == frames.HEADERS:
            self._on_block(received.stream, received.flags, received.flags, frames.unpadded(received))
        elif kind == frames.CONTINUATION:
            self._on_continuation(received)
        elif kind == frames.WINDOW_UPDATE:
            self._on_window(received)
        elif kind == frames.SETTINGS:
            self._on_settings(received)
        elif kind == frames.RST_STREAM:
            self._on_reset(received.stream, frames.number(received.payload))
        elif kind == frames.PING:
            if not received.flags & frames.ACK:
                self._send(frames.frame(frames.PING, frames.ACK, 0, received.payload))
        elif kind == frames.GOAWAY:
            self._on_goaway(received.payload)
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError(Code.PROTOCOL_ERROR, "PUSH_PROMISE was not allowed")

    def _on_data(self, received: Frame) -> None:
        self._received += len(received.payload)  # padding counts against the window too
        if self._received >= _CREDIT_STEP:
            self._send(frames.frame(frames.WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        stream = self._streams.get(received.stream)
        if stream is None:
            return
        stream.body.append(frames.unpadded(received) if received.flags & frames.PADDED else received.payload)
        if received.flags & frames.END_STREAM:
            self._end(stream)

    def _on_block(self, number: int, first_flags: int, flags: int, fragment: bytes) -> None:
        if not flags & frames.END_HEADERS:
            self._block = (number, first_flags, bytearray(fragment))
            return
        headers = self._decoder.decode(fragment)  # always, also for streams that are gone: it keeps the table in step
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.add_headers(headers)
        if first_flags & frames.END_STREAM:
            self._end(stream)

    def _on_continuation(self, received: Frame) -> None:
        if self._block is None or self._block[0] != received.stream:
            raise ProtocolError(Code.PROTOCOL_ERROR, "CONTINUATION without a header block")
        number, first_flags, block = self._block
        block += received.payload
        if len(block) > _LARGEST_BLOCK:
            raise ProtocolError(Code.ENHANCE_YOUR_CALM, "Header block too large")
        if received.flags & frames.END_HEADERS:
            self._block = None
            self._on_block(number, first_flags, received.flags, bytes(block))

    def _on_window(self, received: Frame) -> None:
        increment = frames.number(received.payload) & frames.LARGEST_WINDOW
        if received.stream == 0:
            self._window += increment
            if self._window > frames.LARGEST_WINDOW:
                raise ProtocolError(Code.FLOW_CONTROL_ERROR, "Connection window overflow")
            self._unblock()
            return
        stream = self._streams.get(received.stream)
        if stream is not None:
            stream.window += increment
            if received.stream in self._blocked:
                self._push(stream)

    def _on_settings(self, received: Frame) -> None:
        if received.flags & frames.ACK:
            return
        values = frames.parse_settings(received.payload)
        self._max_streams = values.get(Setting.MAX_CONCURRENT_STREAMS, self._max_streams)
        self._frame_size = min(values.get(Setting.MAX_FRAME_SIZE, self._frame_size), OUR_FRAME)
        window = values.get(Setting.INITIAL_WINDOW_SIZE, self._stream_window)
        if window > frames.LARGEST_WINDOW:
            raise ProtocolError(Code.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large")
        for stream in self._streams.values():
            stream.window += window - self._stream_window
        self._stream_window = window
        self._send(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if not self.ready.done():
            self.ready.set_result(None)
        self._unblock()
        self._open_waiting()

    def _on_goaway(self, payload: bytes) -> None:
        if len(payload) < 8:
            raise ProtocolError(Code.FRAME_SIZE_ERROR, "GOAWAY too short")
        last = int.from_bytes(payload[:4], "big") & frames.LARGEST_WINDOW
        code = int.from_bytes(payload[4:8], "big")
        reason = f"The model server closes the connection (GOAWAY, code {code})"
        for stream in [stream for number, stream in self._streams.items() if number > last]:
            stream.fail(Unprocessed(reason))
        self.close(reason)

    def _on_reset(self, number: int, code: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.reset = True
        reason = f"The model server reset the stream (code {code})"
        stream.fail(Unprocessed(reason) if code == Code.REFUSED_STREAM else Reset(reason, code))

    # -- the end of a stream ------------------------------------------------------------------------------------

    def _end(self, stream: Stream) -> None:
        stream.reset = stream.sent  # the peer answered before it had read everything: tell it that we stop
        stream.finish()

    def _time_out(self, stream: Stream) -> None:
        stream.fail(TimeoutError())

    def _finished(self, stream: Stream, future: asyncio.Future[UpstreamResponse]) -> None:
        """Runs once for every call, however it ended: forgets the stream, and resets it where the peer still has it."""
        if stream.timer is not None:
            stream.timer.cancel()
        if not stream.number:
            if stream in self._waiting:
                self._waiting.remove(stream)
            return
        self._blocked.pop(stream.number, None)
        if self._streams.pop(stream.number, None) is None:
            return
        if not stream.reset:
            self._send(frames.frame(frames.RST_STREAM, 0, stream.number, Code.CANCEL.to_bytes(4, "big")))
        self._open_waiting()
        if not self.usable and not self._streams:
            self._flush()
            self._transport.close()

    def _open_waiting(self) -> None:
        while self.usable and self._waiting and len(self._streams) < self._max_streams:
            stream = self._waiting.popleft()
            if not stream.future.done():
                self._open(stream)

    def _abort(self, code: Code, reason: str) -> None:
        self._reason = f"The model server broke the HTTP/2 protocol: {reason}"
        self._out.append(frames.frame(frames.GOAWAY, 0, 0, bytes(4) + code.to_bytes(4, "big")))
        self._flush()
        self._transport.abort()
        self.usable = False
