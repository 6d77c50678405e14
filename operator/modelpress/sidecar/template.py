"""Canonical keys without parsing, for requests that differ from an earlier one in the bytes of one tensor only.

What stands before and after the `tensor_content` of the one input is a template. A request of the same length with the
same bytes there is parsed to the same message, but for those of the tensor: reading goes from front to back, and the
length of the content stands before it. So its key is that of the earlier request with other content, and one hash is
enough. Templates are only made of requests whose canonical key was found by parsing.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from modelpress.sidecar.key import Part, framed, is_short

SHORTEST = 64
"""Bytes of content below which parsing is hardly dearer."""
LONGEST = 1 << 15
"""Bytes of a message of which a template is made."""
MOST = 64
"""Lengths of requests that are remembered."""
MOST_OF_LENGTH = 4

_INPUTS, _VALUE, _CONTENT = 2, 2, 4
"""Field numbers: PredictRequest.inputs, the value of a map's entry, TensorProto.tensor_content."""
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types, https://protobuf.dev/programming-guides/encoding."""

Span = tuple[int, int]


class Template(NamedTuple):
    """What all requests of one form begin and end with, and how their keys are made."""

    before: bytes
    after: bytes
    begun: Any
    """A hash over the components before the content, its frame included."""
    rest: bytes
    """The components after it, as they are hashed."""


class Templates:
    """The templates of one version, by the length of the message. Messages may begin with gRPC's prefix."""

    def __init__(self) -> None:
        self._by_length: dict[int, tuple[Template, ...]] = {}

    def key(self, message: bytes) -> bytes | None:
        """The canonical key, None where no template fits."""
        for template in self._by_length.get(len(message), ()):
            before, after, begun, rest = template
            if message.startswith(before) and message.endswith(after):
                hasher = begun.copy()
                hasher.update(message[len(before) : len(message) - len(after)] + rest)
                found: bytes = hasher.digest()
                return found
        return None

    def learn(self, message: bytes, prefix: int, parts: list[tuple[Part, bytes]]) -> None:
        """Remembers the form of a message whose key was made of `parts`; `prefix` bytes of it are gRPC's.

        A length is remembered when it comes first, its form when it comes again: what never comes again costs little.
        """
        length = len(message)
        known = self._by_length.get(length)
        if known is None:
            if len(self._by_length) >= MOST:
                self._by_length.clear()
            self._by_length[length] = ()
        elif len(known) < MOST_OF_LENGTH and length <= LONGEST:
            made = _template(message, prefix, parts)
            if made is not None:
                self._by_length[length] = (*known, made)


def _template(message: bytes, prefix: int, parts: list[tuple[Part, bytes]]) -> Template | None:
    places = [number for number, (part, _) in enumerate(parts) if part is Part.CONTENT]
    span = content_span(message, prefix) if len(places) == 1 and is_short(parts) else None
    if span is None:
        return None
    start, end = span
    place = places[0]
    content = parts[place][1]
    if end - start < SHORTEST or content != message[start:end]:
        return None
    head = framed(parts[: place + 1])[: -len(content)]
    return Template(message[:start], message[end:], sha256(head), framed(parts[place + 1 :]))


def content_span(message: bytes, start: int = 0) -> Span | None:
    """Where the `tensor_content` of a PredictRequest's only input lies, None where there is not exactly one."""
    span: Span | None = (start, len(message))
    for number in (_INPUTS, _VALUE, _CONTENT):
        span = _only(message, span, number) if span is not None else None
    return span


def _only(message: bytes, span: Span, wanted: int) -> Span | None:
    found = [at for number, at in _fields(message, *span) if number in (wanted, _MALFORMED)]
    return found[0] if len(found) == 1 and found[0] is not None else None


_MALFORMED = 0
"""There is no field of this number."""


def _fields(message: bytes, position: int, end: int) -> Iterator[tuple[int, Span | None]]:
    """Number and place of every field; None for those without a length, and number 0 for what is malformed."""
    while position < end:
        tag, position = _varint(message, position, end)
        wire, span = tag & 7, None
        if wire == _LENGTH:
            length, start = _varint(message, position, end)
            position = start + length
            span = start, position
        elif wire == _VARINT:
            _, position = _varint(message, position, end)
        else:
            position += {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire, end)
        number = tag >> 3
        if number == _MALFORMED or position > end:
            yield _MALFORMED, None
            return
        yield number, span


def _varint(message: bytes, position: int, end: int) -> tuple[int, int]:
    """A number and what comes after it, which is beyond `end` where the number is cut off or too long."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return value, end + 1
