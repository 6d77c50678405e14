"""HTTP/2 frames (RFC 9113): writing them, and cutting a byte stream into them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
DEFAULT_FRAME = 16_384
LARGEST_FRAME = 2**24 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20


class Setting(IntEnum):
    """Identifiers of SETTINGS."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Error codes."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12


class Frame(NamedTuple):
    """One frame as it was received; `payload` may still hold padding and priority."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class ProtocolError(Exception):
    """The peer broke the protocol; the connection ends with `code`."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


_HEAD = struct.Struct(">IBI")
_TWO = struct.Struct(">II")


def head(kind: int, flags: int, stream: int, length: int) -> bytes:
    """The nine bytes before a payload."""
    return _HEAD.pack(length << 8 | kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return head(kind, flags, stream, len(payload)) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def hello(largest: int) -> bytes:
    """What a client begins with: no dynamic table, no pushes, frames up to `largest`, and windows as wide as can be."""
    wanted = {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.ENABLE_PUSH: 0,
        Setting.INITIAL_WINDOW_SIZE: LARGEST_WINDOW,
        Setting.MAX_FRAME_SIZE: largest,
    }
    return PREFACE + settings(wanted) + credit(0, LARGEST_WINDOW - DEFAULT_WINDOW)


def credit(stream: int, size: int) -> bytes:
    """Lets the peer send `size` bytes more, on the connection where `stream` is 0."""
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def goaway(last: int, code: Code, told: str = "") -> bytes:
    """Streams after `last` are not looked at; `told` is for people who look into the peer's log."""
    return frame(GOAWAY, 0, 0, _TWO.pack(last, code) + told.encode())


def parse_settings(payload: bytes) -> dict[int, int]:
    """Settings by identifier, unknown ones included."""
    if len(payload) % 6:
        raise ProtocolError(Code.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
    return dict(struct.iter_unpack(">HI", payload))


def number(payload: bytes) -> int:
    """The 32-bit number that is the whole payload of RST_STREAM and WINDOW_UPDATE."""
    if len(payload) != 4:
        raise ProtocolError(Code.FRAME_SIZE_ERROR, "Payload is not four bytes long")
    return int.from_bytes(payload, "big")


def unpadded(received: Frame) -> bytes:
    """The payload without padding and priority."""
    payload = received.payload
    start, end = 0, len(payload)
    if received.flags & PADDED:
        if not payload or payload[0] >= end:
            raise ProtocolError(Code.PROTOCOL_ERROR, "More padding than payload")
        start, end = 1, end - payload[0]
    if received.kind == HEADERS and received.flags & HAS_PRIORITY:
        start += 5
    if start > end:
        raise ProtocolError(Code.FRAME_SIZE_ERROR, "Payload too short for its flags")
    return payload[start:end]


class Splitter:
    """Cuts a stream of bytes into frames of at most `largest` payload bytes."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._parts: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with `data`."""
        return map(Frame._make, self.cut(data))

    def cut(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """As `feed`, but plain tuples: kind, flags, stream and payload."""
        if self._missing > len(data):  # in the midst of a large frame: do not join what is not complete
            self._parts.append(data)
            self._missing -= len(data)
            return
        position, number = 0, int.from_bytes
        if self._parts:
            position = self._missing  # 0: not even the head of the frame had come
            first = b"".join((*self._parts, data[:position] if position else data))
            self._parts.clear()
            if position:  # what comes behind that frame need not be copied
                stream = number(first[5:9], "big") & LARGEST_WINDOW
                yield first[3], first[4], stream, first[9:]
            else:
                data = first
        self._missing = 0
        end = len(data)
        while end - position >= 9:
            length = number(data[position : position + 3], "big")
            if length > self._largest:
                raise ProtocolError(Code.FRAME_SIZE_ERROR, f"A frame of {length} bytes")
            after = position + 9 + length
            if after > end:
                self._missing = after - end
                break
            stream = number(data[position + 5 : position + 9], "big") & LARGEST_WINDOW
            yield data[position + 3], data[position + 4], stream, data[position + 9 : after]
            position = after
        if position < end:
            self._parts.append(data[position:])
