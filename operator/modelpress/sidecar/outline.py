"""What long messages say beside what makes them long, read in place: copies of them would take many times their room.

Format: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from modelpress.sidecar.reason import Bypass, Uncacheable

LONG = 1 << 22
"""Bytes of a request above which it is read by its outline only: gRPC's own limit unless told otherwise."""
MOST_FIELDS = 4096
LARGEST = 1 << 20
"""Bytes of an outline."""
BULK = 1024
"""Bytes of an element that are left out."""

LENGTH = 2
"""Wire type of strings, bytes and messages."""
_VARINT, _EIGHT_BYTES, _FOUR_BYTES = 0, 1, 5
_LONGEST_HEAD = 20
"""Bytes of a field's number and length."""
_INPUTS, _VALUE, _CONTENT, _STRINGS = 2, 2, 4, 8
"""PredictRequest.inputs, the value of a map's entry, and of TensorProto: tensor_content and string_val."""
_MESSAGES = (_INPUTS, _VALUE)
"""The numbers of the messages that lead to a tensor, from the outside in."""


class Field(NamedTuple):
    """Where a field lies: its head, then its content, which ends with it."""

    number: int
    wire: int
    start: int
    content: int
    end: int


class Outline:
    """Reads a message that lies in pieces, of which the first `start` bytes are none of it.

    Raises Uncacheable for what is malformed, and where there are too many fields to look at.
    """

    def __init__(self, pieces: Sequence[bytes], start: int) -> None:
        self._pieces = pieces
        self._ends = list(accumulate(map(len, pieces)))
        self._start = start
        self._left = MOST_FIELDS
        self._room = LARGEST

    def only(self, wanted: int) -> bytes:
        """All top-level fields of one number, as a message of their own."""
        fields = self.fields(self._start, self._ends[-1] if self._ends else 0)
        return b"".join([self._kept(field.start, field.end) for field in fields if field.number == wanted])

    def request(self) -> bytes:
        """A PredictRequest with the same fields, but long strings and contents of tensors empty."""
        return self._without_bulk(self._start, self._ends[-1] if self._ends else 0, depth=0)

    def _without_bulk(self, start: int, end: int, *, depth: int) -> bytes:
        parts: list[bytes] = []
        for field in self.fields(start, end):
            if depth < len(_MESSAGES) and field.wire == LENGTH and field.number == _MESSAGES[depth]:
                inner = self._without_bulk(field.content, field.end, depth=depth + 1)
            elif depth == len(_MESSAGES) and _is_bulk(field):
                inner = b""
            else:
                parts.append(self._kept(field.start, field.end))
                continue
            parts += (bytes((field.number << 3 | LENGTH,)), _varint_of(len(inner)), inner)
        return b"".join(parts)

    def fields(self, position: int, end: int) -> Iterator[Field]:
        """The fields of the message that lies there."""
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
            field = self._field(position, end)
            if field.end > end or not field.number:
                raise Uncacheable(Bypass.MALFORMED)
            yield field
            position = field.end

    def _field(self, start: int, end: int) -> Field:
        head = self._cut(start, min(start + _LONGEST_HEAD, end))
        tag, length = _varint(head, 0)
        wire = tag & 7
        if wire == LENGTH:
            size, length = _varint(head, length)
        elif wire == _VARINT:
            size = _varint(head, length)[1] - length
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire == _EIGHT_BYTES else 4
        else:  # groups: no field of ours is one
            raise Uncacheable(Bypass.UNKNOWN_FIELDS)
        return Field(tag >> 3, wire, start, start + length, start + length + size)

    def _kept(self, start: int, end: int) -> bytes:
        self._room -= end - start
        if self._room < 0:
            raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
        return self._cut(start, end)

    def _cut(self, start: int, end: int) -> bytes:
        found: list[bytes] = []
        number = bisect_right(self._ends, start)
        while start < end:
            piece, after = self._pieces[number], self._ends[number]
            offset = start - after + len(piece)
            found.append(piece[offset : offset + end - start])
            start, number = after, number + 1
        return found[0] if len(found) == 1 else b"".join(found)


def _is_bulk(field: Field) -> bool:
    return field.wire == LENGTH and field.number in (_CONTENT, _STRINGS) and field.end - field.content > BULK


def _varint(head: bytes, position: int) -> tuple[int, int]:
    """A number and where it ends; raises Uncacheable where it is cut off or too long."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(head):
            break
        byte = head[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise Uncacheable(Bypass.MALFORMED)


def _varint_of(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
