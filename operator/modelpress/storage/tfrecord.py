"""Records of a TFRecord file, without TensorFlow: they are copied as they are, checksums included."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from modelpress.api.errors import Invalid

_HEADER = struct.Struct("<Q4x")
"""Length of the content in bytes, and its checksum."""
_FOOTER_BYTES = 4


def first(path: Path, count: int) -> bytes:
    """The first `count` records, fewer where there are fewer, as a TFRecord file. Raises Invalid `Unreadable`."""
    return b"".join(itertools.islice(_records(path), count))


def contents(path: Path) -> Iterator[bytes]:
    """What the records hold, one after the other. Raises Invalid `Unreadable`, OSError."""
    for record in _records(path):
        yield record[_HEADER.size : -_FOOTER_BYTES]


def count(path: Path) -> int:
    """The number of records. Raises Invalid `Unreadable`, OSError."""
    return sum(1 for _ in _records(path))


def _records(path: Path) -> Iterator[bytes]:
    """With header and checksum."""
    with path.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        while header := opened.read(_HEADER.size):
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else -1
            body = opened.read(length + _FOOTER_BYTES) if 0 <= length <= size else b""
            if len(body) != length + _FOOTER_BYTES:
                raise Invalid("Unreadable", f"{path} is no complete TFRecord file; compress the model again")
            yield header + body
