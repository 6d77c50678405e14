"""Answers as bytes, for tiers that outlive the process: whatever is not exactly what was written is no answer.

magic 3 | format 1 | key 32 | born f64 | length of head u32 | head (JSON) | body | BLAKE3-256 of all before
"""

from __future__ import annotations

import json
import struct
from typing import NamedTuple

from blake3 import blake3

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.headers import Headers

MAGIC = b"mpc"
FORMAT = 1
"""Raise it when the layout or the meaning of a key changes: older records are then misses."""
SKEW = 60.0
"""Seconds that the clocks of two pods may differ by; a record from further ahead has no age that could be trusted."""
_PREFIX = struct.Struct("<3sB32sdI")
_DIGEST = 32


class Record(NamedTuple):
    """An answer and its age in seconds."""

    answer: Answer
    age: float


class Spoiled(Exception):
    """The bytes are not a record of this key: torn, truncated, changed, or of another format."""


def encode(key: bytes, answer: Answer, *, born: float) -> bytes:
    """`born` is when the model gave the answer, in Unix seconds."""
    head = json.dumps([answer.status, _text(answer.headers), _text(answer.trailers)]).encode()
    written = b"".join((_PREFIX.pack(MAGIC, FORMAT, key, born, len(head)), head, answer.body))
    return written + blake3(written).digest()


def decode(key: bytes, record: bytes, *, now: float) -> Record:
    """Raises Spoiled."""
    if len(record) < _PREFIX.size + _DIGEST:
        raise Spoiled
    content = memoryview(record)[:-_DIGEST]
    magic, version, named, born, length = _PREFIX.unpack_from(record)
    if (magic, version, named) != (MAGIC, FORMAT, key) or blake3(content).digest() != record[-_DIGEST:]:
        raise Spoiled
    start = _PREFIX.size + length
    age = now - born
    if start > len(content) or not age > -SKEW:
        raise Spoiled
    try:
        status, headers, trailers = json.loads(record[_PREFIX.size : start])
        answer = Answer(status, _bytes(headers), bytes(content[start:]), _bytes(trailers))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Spoiled from error
    return Record(answer, max(age, 0.0))


def _text(headers: Headers) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


def _bytes(headers: list[list[str]]) -> Headers:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
