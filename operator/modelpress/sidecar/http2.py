"""One HTTP/2 connection to the model server: unary gRPC calls, multiplexed.

Fast because header blocks are stateless (see headers), what a turn of the loop sends goes out in one write, and the
receive windows are wide. The peer's windows, frame size, number of streams, GOAWAY and backpressure are honoured.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from hpack import HPACKError

from modelpress.sidecar import frames
from modelpress.sidecar.frames import Code, Frame, ProtocolError, Setting
from modelpress.sidecar.headers import BlockDecoder
from modelpress.sidecar.outbox import Outbox
from modelpress.sidecar.stream import Done, Reset, Stream, Unprocessed, UpstreamResponse
from modelpress.sidecar.timeouts import Timeouts

OUR_FRAME = 1 << 20
_CREDIT_STEP = 1 << 26
_LARGEST_BLOCK = 1 << 18
_UNUSUAL = frames.PADDED | frames.HAS_PRIORITY


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
        self._max_streams = frames.LARGEST_WINDOW
        self._splitter = frames.Splitter(OUR_FRAME)
        self._decoder = BlockDecoder()
        self._block: tuple[int, int, bytearray] | None = None
        self._received = 0
        self._out = Outbox(self._loop, OUR_FRAME)
        self._timeouts = Timeouts(self._loop, lambda: (*self._streams.values(), *self._waiting), self._time_out)
        self._reason = "Connection closed"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out.transport = self._transport = cast(asyncio.Transport, transport)
        self._out.send(frames.hello(OUR_FRAME))

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if exc is not None:
            self._reason = str(exc) or type(exc).__name__
        lost = [*self._streams.values(), *self._waiting]
        self._streams.clear()
        self._waiting.clear()
        self._timeouts.close()
        self._out.clear()
        for stream in lost:
            self._end(stream, Reset(self._reason) if stream.number else Unprocessed(self._reason))
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(self._reason))
            self.ready.exception()  # retrieved: the connector may have given up already
        self._on_close(self)

    def pause_writing(self) -> None:
        self._out.pause()

    def resume_writing(self) -> None:
        self._out.resume()

    def data_received(self, data: bytes) -> None:
        try:
            for kind, flags, number, payload in self._splitter.cut(data):
                if self._block is not None or flags & _UNUSUAL:
                    self._handle(Frame(kind, flags, number, payload))
                elif kind == frames.DATA:
                    self._on_data(number, flags, payload)
                elif kind == frames.HEADERS:
                    self._on_block(number, flags, flags, payload)
                else:
                    self._handle(Frame(kind, flags, number, payload))
        except ProtocolError as error:
            self._abort(error.code, str(error))
        except HPACKError as error:
            self._abort(Code.COMPRESSION_ERROR, f"Header block: {error}")

    def call(
        self, block: bytes, chunks: Sequence[bytes], deadline: float | None = None
    ) -> asyncio.Future[UpstreamResponse]:
        """As `begin`, with a future instead of a callback. Cancelling it resets the stream."""
        future: asyncio.Future[UpstreamResponse] = self._loop.create_future()

        def done(response: UpstreamResponse | None, error: Exception | None) -> None:
            if future.done():
                return
            if response is None:
                future.set_exception(error or Reset("Ended without a response"))
            else:
                future.set_result(response)

        stream = self.begin(block, chunks, deadline, done)
        future.add_done_callback(lambda _: self.cancel(stream))
        return future

    def begin(self, block: bytes, chunks: Sequence[bytes], deadline: float | None, done: Done) -> Stream:
        """Sends a request of encoded headers and a body; `done` is called once, perhaps before this returns.

        `deadline` is on the loop's clock.
        """
        stream = Stream(block, chunks, done, math.inf if deadline is None else deadline)
        if stream.deadline < self._timeouts.earliest:
            self._timeouts.watch(stream.deadline)
        if not self.usable:
            self._end(stream, Unprocessed(self._reason))
        elif len(self._streams) < self._max_streams:
            self._open(stream)
        else:
            self._waiting.append(stream)
        return stream

    def cancel(self, stream: Stream) -> None:
        """Nobody wants the response any longer; `done` is not called."""
        if not stream.over:
            stream.over = True
            self._forget(stream)

    def close(self, reason: str = "Connection closed") -> None:
        """Takes no more calls; closes as soon as those under way have ended."""
        self.usable = False
        self._reason = reason
        while self._waiting:
            self._end(self._waiting.popleft(), Unprocessed(reason))
        if not self._streams:
            self._out.flush()
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        self.usable = False
        self._transport.abort()

    def _open(self, stream: Stream) -> None:
        stream.number = self._next_stream
        self._next_stream += 2
        self._streams[stream.number] = stream
        self._out.open(stream)
        if self._next_stream > frames.LARGEST_WINDOW - 2:
            self.close("Stream numbers used up")

    def _handle(self, received: Frame) -> None:
        kind = received.kind
        if self._block is not None and kind != frames.CONTINUATION:
            raise ProtocolError(Code.PROTOCOL_ERROR, "A header block was interrupted")
        if kind == frames.DATA:
            payload = frames.unpadded(received)
            self._on_data(received.stream, received.flags, payload, len(received.payload) - len(payload))
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
                self._out.send(frames.frame(frames.PING, frames.ACK, 0, received.payload))
        elif kind == frames.GOAWAY:
            self._on_goaway(received.payload)
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError(Code.PROTOCOL_ERROR, "PUSH_PROMISE was not allowed")

    def _on_data(self, number: int, flags: int, payload: bytes, padding: int = 0) -> None:
        self._received += len(payload) + padding  # padding counts against the window too
        if self._received >= _CREDIT_STEP:
            self._out.send(frames.frame(frames.WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.body.append(payload)
        if flags & frames.END_STREAM:
            self._complete(stream)

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
            self._complete(stream)

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
            self._out.widen(increment)
        elif received.stream in self._streams:
            self._out.widen_stream(self._streams[received.stream], increment)

    def _on_settings(self, received: Frame) -> None:
        if received.flags & frames.ACK:
            return
        values = frames.parse_settings(received.payload)
        self._max_streams = values.get(Setting.MAX_CONCURRENT_STREAMS, self._max_streams)
        self._out.configure(values, list(self._streams.values()))
        self._out.send(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if not self.ready.done():
            self.ready.set_result(None)
        self._open_waiting()

    def _on_goaway(self, payload: bytes) -> None:
        if len(payload) < 8:
            raise ProtocolError(Code.FRAME_SIZE_ERROR, "GOAWAY too short")
        last = int.from_bytes(payload[:4], "big") & frames.LARGEST_WINDOW
        code = int.from_bytes(payload[4:8], "big")
        reason = f"The model server closes the connection (GOAWAY, code {code})"
        for stream in [stream for number, stream in self._streams.items() if number > last]:
            self._end(stream, Unprocessed(reason))
        self.close(reason)

    def _on_reset(self, number: int, code: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.reset = True
        reason = f"The model server reset the stream (code {code})"
        self._end(stream, Unprocessed(reason) if code == Code.REFUSED_STREAM else Reset(reason, code))

    def _complete(self, stream: Stream) -> None:
        stream.reset = stream.sent  # else the peer answered before it had read everything: tell it that we stop
        try:
            response = stream.response()
        except Reset as error:
            self._end(stream, error)
            return
        if not stream.over:
            stream.over = True
            self._forget(stream)
            stream.done(response, None)

    def _time_out(self, stream: Stream) -> None:
        self._end(stream, TimeoutError())

    def _end(self, stream: Stream, error: Exception) -> None:
        """The call ends with an error, unless it has ended."""
        if not stream.over:
            stream.over = True
            self._forget(stream)
            stream.done(None, error)

    def _forget(self, stream: Stream) -> None:
        """Runs once for every call, however it ended; resets the stream where the peer still has it."""
        if not stream.number:
            if stream in self._waiting:
                self._waiting.remove(stream)
            return
        if not stream.sent:
            self._out.forget(stream)
        if self._streams.pop(stream.number, None) is None:
            return
        if not stream.reset:
            self._out.send(frames.frame(frames.RST_STREAM, 0, stream.number, Code.CANCEL.to_bytes(4, "big")))
        if self._waiting:
            self._open_waiting()
        if not self.usable and not self._streams:
            self._out.flush()
            self._transport.close()

    def _open_waiting(self) -> None:
        while self.usable and self._waiting and len(self._streams) < self._max_streams:
            self._open(self._waiting.popleft())

    def _abort(self, code: Code, reason: str) -> None:
        self._reason = f"The model server broke the HTTP/2 protocol: {reason}"
        self._out.send(frames.frame(frames.GOAWAY, 0, 0, bytes(4) + code.to_bytes(4, "big")))
        self._out.flush()
        self._transport.abort()
        self.usable = False
