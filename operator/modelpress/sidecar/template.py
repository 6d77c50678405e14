"""Canonical keys without parsing, for requests that differ from an earlier one in the bytes of one tensor only.

What stands before and after the `tensor_content` of the one input is a template. A request of the same length with the
same bytes there is parsed to the same message, but for those of the tensor: reading goes from front to back, and the
length of the content stands before it. So its key is that of the earlier request with other content, and one hash is
enough. Templates are only made of requests whose canonical key was found by parsing.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

from modelpress.sidecar.key import Part, framed, is_short
from modelpress.sidecar.outline import LENGTH, Outline
from modelpress.sidecar.reason import Uncacheable

SHORTEST = 64
"""Bytes of content below which parsing is hardly dearer."""
LONGEST = 1 << 15
"""Bytes of a message of which a template is made."""
MOST = 64
"""Lengths of requests that are remembered."""
MOST_OF_LENGTH = 4

_INPUTS, _VALUE, _CONTENT = 2, 2, 4
"""Field numbers: PredictRequest.inputs, the value of a map's entry, TensorProto.tensor_content."""

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
    outline = Outline((message,), start)
    span: Span = (start, len(message))
    try:
        for number in (_INPUTS, _VALUE, _CONTENT):
            found = [field for field in outline.fields(*span) if field.number == number]
            if len(found) != 1 or found[0].wire != LENGTH:
                return None
            span = (found[0].content, found[0].end)
    except Uncacheable:
        return None
    return span
