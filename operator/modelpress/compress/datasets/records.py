"""Records of a TFRecord file, gzip or plain, their checksums compared.

A record is its length (uint64, little-endian), the masked CRC-32C of these eight bytes, the content, and the masked
CRC-32C of the content (tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

import google_crc32c

from modelpress.compress.datasets import reading
from modelpress.compress.datasets.reading import Order

LIMIT_BYTES = 2**31
"""No message is longer, so a longer record is damage."""
_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MASK = 0xA282EAD8


def records(order: Order) -> Iterator[bytes]:
    """The records in order. Raises Invalid `Unreadable`."""
    number = 0
    with reading.opened(order.path) as opened:
        while True:
            try:
                record = _next(opened)
            except (OSError, EOFError, ValueError) as error:
                raise order.unreadable(
                    f"is damaged in record {number + 1} ({error}); write it again as TFRecord"
                ) from error
            if record is None:
                return
            yield record
            number += 1


def begins_with_record(head: bytes) -> bool:
    """Whether the first bytes of an unpacked file are the header of a record."""
    if len(head) < _HEADER.size:
        return False
    length, checksum = _HEADER.unpack_from(head)
    return bool(length <= LIMIT_BYTES and checksum == _masked(head[:8]))


def _next(opened: IO[bytes]) -> bytes | None:
    header = opened.read(_HEADER.size)
    if not header:
        return None
    if len(header) != _HEADER.size:
        raise ValueError("the file ends early")
    if not begins_with_record(header):
        raise ValueError("the checksum of its length is wrong")
    length: int = _HEADER.unpack(header)[0]
    body = opened.read(length + _CHECKSUM.size)
    if len(body) != length + _CHECKSUM.size:
        raise ValueError("the file ends early")
    content = body[:length]
    if _CHECKSUM.unpack_from(body, length)[0] != _masked(content):
        raise ValueError("its checksum is wrong")
    return content


def _masked(content: bytes) -> int:
    checksum: int = google_crc32c.value(content)
    return ((checksum >> 15 | checksum << 17) + _MASK) & 0xFFFFFFFF
