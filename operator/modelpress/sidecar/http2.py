"""One HTTP/2 connection to the model server: unary gRPC calls, multiplexed.

Fast because header blocks are stateless (see headers), what a turn of the loop sends goes out in one write, and the
receive windows are wide. The peer's windows, frame size, number of streams, GOAWAY and backpressure are honoured.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from modelpress.sidecar import frames
from modelpress.sidecar.frames import Code, Setting
from modelpress.sidecar.headers import Headers
from modelpress.sidecar.session import OUR_FRAME, Session
from modelpress.sidecar.stream import Done, Reset, Stream, Unprocessed, UpstreamResponse
from modelpress.sidecar.timeouts import Timeouts

_CREDIT_STEP = 1 << 26


def _as_they_are(headers: Headers) -> Headers:
    return headers


class Connection(Session[Headers]):
    """Made by `loop.create_connection`; `ready` resolves with the peer's first SETTINGS."""

    def __init__(self, on_close: Callable[[Connection], None]) -> None:
        super().__init__(_as_they_are)
        self._on_close = on_close
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.usable = True
        self._streams: dict[int, Stream] = {}
        self._next_stream = 1
        self._waiting: deque[Stream] = deque()
        self._max_streams = frames.LARGEST_WINDOW
        self._received = 0
        self._timeouts = Timeouts(self._loop, lambda: (*self._streams.values(), *self._waiting), self._time_out)
        self._reason = "Connection closed"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
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
        alone = not self._streams  # then there is nothing to wait for that could be sent together with it
        self._streams[stream.number] = stream
        if alone:
            self._out.cork()
        self._out.open(stream)
        if alone:
            self._out.uncork()
        if self._next_stream > frames.LARGEST_WINDOW - 2:
            self.close("Stream numbers used up")

    def _on_data(self, number: int, flags: int, payload: bytes, padding: int = 0) -> None:
        self._received += len(payload) + padding  # padding counts against the window too
        if self._received >= _CREDIT_STEP:
            self._out.send(frames.credit(0, self._received))
            self._received = 0
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.body.append(payload)
        if flags & frames.END_STREAM:
            self._complete(stream)

    def _on_headers(self, number: int, headers: Headers, *, ends: bool) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.add_headers(headers)
        if ends:
            self._complete(stream)

    def _on_stream_window(self, number: int, increment: int) -> None:
        if number in self._streams:
            self._out.widen_stream(self._streams[number], increment)

    def _windows(self) -> Iterable[Stream]:
        return list(self._streams.values())

    def _on_settings(self, values: dict[int, int]) -> None:
        self._max_streams = values.get(Setting.MAX_CONCURRENT_STREAMS, self._max_streams)
        if not self.ready.done():
            self.ready.set_result(None)
        self._open_waiting()

    def _on_goaway(self, last: int, code: int) -> None:
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

    def _broken(self, code: Code, reason: str) -> None:
        self._reason = f"The model server broke the HTTP/2 protocol: {reason}"
        self._out.send(frames.goaway(0, code))
        self._out.flush()
        self._transport.abort()
        self.usable = False
