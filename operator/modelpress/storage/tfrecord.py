"""Records of a TFRecord file, without TensorFlow: they are copied as they are, checksums included."""

from __future__ import annotations

import struct
from pathlib import Path

from modelpress.api.errors import Invalid

_HEADER = struct.Struct("<Q4x")
"""Length of the content in bytes, and its checksum."""
_FOOTER_BYTES = 4


def first(path: Path, count: int) -> bytes:
    """The first `count` records, fewer where there are fewer, as a TFRecord file. Raises Invalid `Unreadable`."""
    taken = bytearray()
    with path.open("rb") as opened:
        for _ in range(count):
            header = opened.read(_HEADER.size)
            if not header:
                break
            length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else -1
            body = opened.read(length + _FOOTER_BYTES) if 0 <= length <= path.stat().st_size else b""
            if len(body) != length + _FOOTER_BYTES:
                raise Invalid("Unreadable", f"{path} is no complete TFRecord file; compress the model again")
            taken += header + body
    return bytes(taken)
