"""What both ends of an HTTP/2 connection do alike (RFC 9113): frames in, frames out, settings, windows, pings."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Generic, cast

from hpack import HPACKError

from modelpress.sidecar import frames
from modelpress.sidecar.frames import Code, Frame, ProtocolError
from modelpress.sidecar.headers import LARGEST_LIST, BlockDecoder, Headers, Meaning
from modelpress.sidecar.outbox import Outbox, Windowed

OUR_FRAME = 1 << 20
"""Bytes of the largest frame that we take."""
_LARGEST_BLOCK = 1 << 18
_LONG_BLOCK = 1 << 12
_OF_CONNECTION = (frames.SETTINGS, frames.PING, frames.GOAWAY)
_UNUSUAL = frames.PADDED | frames.HAS_PRIORITY


class Session(asyncio.Protocol, Generic[Meaning]):
    """One end of one connection. `meaning` is made of the headers of each block; equal blocks may share it."""

    def __init__(self, meaning: Callable[[Headers], Meaning], largest_headers: int = LARGEST_LIST) -> None:
        self._loop = asyncio.get_running_loop()
        self._splitter = frames.Splitter(OUR_FRAME)
        self._decoder = BlockDecoder(meaning, largest_headers)
        self._block: tuple[int, int, bytearray] | None = None
        self._largest_block = min(largest_headers, _LARGEST_BLOCK)
        self._out = Outbox(self._loop, OUR_FRAME)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out.transport = self._transport = cast(asyncio.Transport, transport)

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
            self._broken(error.code, str(error))
        except HPACKError:  # whose words may hold addresses of our memory
            self._broken(Code.COMPRESSION_ERROR, "A header block cannot be decoded")

    @abstractmethod
    def _on_data(self, number: int, flags: int, payload: bytes, padding: int = 0) -> None:
        """A piece of a body."""

    @abstractmethod
    def _on_headers(self, number: int, headers: Meaning, *, ends: bool) -> None:
        """A header block; `ends` tells whether the peer sends no more on this stream."""

    @abstractmethod
    def _on_reset(self, number: int, code: int) -> None:
        """The peer has broken off a stream."""

    @abstractmethod
    def _on_goaway(self, last: int, code: int) -> None:
        """The peer is about to close; it does not look at our streams after `last`."""

    @abstractmethod
    def _on_stream_window(self, number: int, increment: int) -> None:
        """The peer takes more on a stream."""

    @abstractmethod
    def _on_settings(self, values: dict[int, int]) -> None:
        """The peer's settings, beside those about what is sent; they are acknowledged already."""

    @abstractmethod
    def _windows(self) -> Iterable[Windowed]:
        """All streams on which something may still be sent."""

    @abstractmethod
    def _broken(self, code: Code, reason: str) -> None:
        """The peer does not keep to the protocol: the connection must end."""

    def _on_control(self, kind: int) -> None:
        """A frame has come that asks for work and carries nothing."""

    def _on_pong(self, payload: bytes) -> None:
        """The peer has answered a PING of ours."""

    def _handle(self, received: Frame) -> None:
        kind, number, payload = received.kind, received.stream, received.payload
        if self._block is not None and kind != frames.CONTINUATION:
            raise ProtocolError(Code.PROTOCOL_ERROR, "A header block was interrupted")
        if kind == frames.DATA:
            bare = frames.unpadded(received)
            self._on_data(number, received.flags, bare, len(payload) - len(bare))
        elif kind == frames.HEADERS:
            self._on_block(number, received.flags, received.flags, frames.unpadded(received))
        elif kind == frames.CONTINUATION:
            self._on_continuation(received)
        elif kind == frames.WINDOW_UPDATE:
            self._on_window(number, payload)
        else:
            self._on_control(kind)
            self._handle_control(received)

    def _handle_control(self, received: Frame) -> None:
        kind, payload, is_ack = received.kind, received.payload, bool(received.flags & frames.ACK)
        if received.stream and kind in _OF_CONNECTION:
            raise ProtocolError(Code.PROTOCOL_ERROR, f"A frame of kind {kind} on a stream")
        if kind == frames.SETTINGS:
            self._on_settings_frame(payload, is_ack=is_ack)
        elif kind == frames.PING:
            self._on_ping(payload, is_ack=is_ack)
        elif kind == frames.RST_STREAM:
            self._on_reset(received.stream, frames.number(payload))
        elif kind == frames.GOAWAY:
            if len(payload) < 8:
                raise ProtocolError(Code.FRAME_SIZE_ERROR, "GOAWAY too short")
            last = int.from_bytes(payload[:4], "big") & frames.LARGEST_WINDOW
            self._on_goaway(last, int.from_bytes(payload[4:8], "big"))
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError(Code.PROTOCOL_ERROR, "PUSH_PROMISE was not allowed")

    def _on_settings_frame(self, payload: bytes, *, is_ack: bool) -> None:
        if not is_ack:
            self._configure(payload)
        elif payload:
            raise ProtocolError(Code.FRAME_SIZE_ERROR, "SETTINGS are acknowledged with nothing")

    def _on_ping(self, payload: bytes, *, is_ack: bool) -> None:
        if len(payload) != 8:
            raise ProtocolError(Code.FRAME_SIZE_ERROR, "PING is not eight bytes long")
        if is_ack:
            self._on_pong(payload)
        else:
            self._out.send(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_block(self, number: int, first_flags: int, flags: int, fragment: bytes) -> None:
        if not flags & frames.END_HEADERS:
            self._block = (number, first_flags, bytearray(fragment))
            return
        self._check_block(fragment)
        # always decoded, also for streams that are gone: it keeps the table in step
        headers = self._decoder.decode(fragment)
        self._on_headers(number, headers, ends=bool(first_flags & frames.END_STREAM))

    def _check_block(self, block: bytes | bytearray) -> None:
        """Long ones cost much to decode, and gRPC has no use for them."""
        if len(block) > self._largest_block:
            raise ProtocolError(Code.ENHANCE_YOUR_CALM, "Header block too large")
        for _ in range(len(block) // _LONG_BLOCK):
            self._on_control(frames.HEADERS)

    def _on_continuation(self, received: Frame) -> None:
        if self._block is None or self._block[0] != received.stream:
            raise ProtocolError(Code.PROTOCOL_ERROR, "CONTINUATION without a header block")
        number, first_flags, block = self._block
        block += received.payload
        if len(block) > self._largest_block:
            self._check_block(block)
        if received.flags & frames.END_HEADERS:
            self._block = None
            self._on_block(number, first_flags, received.flags, bytes(block))
        elif not received.payload:
            self._on_control(frames.CONTINUATION)

    def _on_window(self, number: int, payload: bytes) -> None:
        increment = frames.number(payload) & frames.LARGEST_WINDOW
        if not increment:
            raise ProtocolError(Code.PROTOCOL_ERROR, "A window was widened by nothing")
        if number == 0:
            self._out.widen(increment)
        else:
            self._on_stream_window(number, increment)

    def _configure(self, payload: bytes) -> None:
        values = frames.parse_settings(payload)
        self._out.send(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._out.configure(values, self._windows())
        self._on_settings(values)
