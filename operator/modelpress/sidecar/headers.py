"""Header blocks of HTTP/2 connections: literals that touch no dynamic table, and a memo for what comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from hpack import Decoder, Encoder, HPACKDecodingError, NeverIndexedHeaderTuple, OversizedHeaderListError

Headers = tuple[tuple[bytes, bytes], ...]

LARGEST_LIST = 1 << 18
"""Bytes of decoded headers."""
_MEMO_ENTRIES = 256
_MEMO_BLOCK = 512
_MEMO_FIELDS = 2048
_MEMO_FIELD = 256
_LONGEST_SHIFT = 28
_ENTRY_OVERHEAD = 32
"""What a field counts beside its bytes (RFC 9113, 6.5.2)."""

# Literals that are never indexed leave the table of either side as it is, so one encoder serves every connection.
_ENCODER = Encoder()


def encode(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block that means the same on every connection at any time."""
    block: bytes = _ENCODER.encode([NeverIndexedHeaderTuple(name, value) for name, value in headers], huffman=False)
    return block


def literal(name: bytes, value: bytes) -> bytes:
    """The same for one short header that is another every time."""
    if max(len(name), len(value)) > 126:
        return encode(((name, value),))
    return b"\x10" + bytes((len(name),)) + name + bytes((len(value),)) + value


Meaning = TypeVar("Meaning")


class BlockDecoder(Generic[Meaning]):
    """Decodes the header blocks of one connection, in their order; `meaning` makes of them what is to be known.

    We ask the peer for a dynamic table of size 0. Once it has agreed, a block means the same whenever it comes,
    and so does each field in it: the few that gRPC clients and servers repeat are remembered by their bytes.
    """

    def __init__(self, meaning: Callable[[Headers], Meaning], largest: int = LARGEST_LIST) -> None:
        self._decoder: Any = Decoder(max_header_list_size=largest)
        self._largest = largest
        self._meaning = meaning
        self._stateless = False
        self._memo: dict[bytes, Meaning] = {}
        self._fields: dict[bytes, tuple[bytes, bytes]] = {}

    def decode(self, block: bytes) -> Meaning:
        """Raises hpack.HPACKError where the block is malformed or too large."""
        known = self._memo.get(block)
        if known is not None:
            return known
        resizes = bool(block) and block[0] & 0xE0 == 0x20
        if not self._stateless or resizes:
            headers = self._meaning(self._decoded(block))
            self._stateless = not self._decoder.header_table.maxsize
            if not self._stateless:
                self._memo.clear()
            return headers
        headers = self._meaning(self._by_field(block))
        if len(block) <= _MEMO_BLOCK:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            self._memo[block] = headers
        return headers

    def _decoded(self, block: bytes) -> Headers:
        return tuple((bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True))

    def _by_field(self, block: bytes) -> Headers:
        """Only what is new is decoded: most of a request's fields are those of the one before."""
        found: list[tuple[bytes, bytes]] = []
        position, size = 0, 0
        while position < len(block):
            after = _field_end(block, position)
            field = block[position:after]
            pair = self._fields.get(field)
            if pair is None:
                if field[0] & 0xE0 == 0x20:
                    raise HPACKDecodingError("The table's size changes behind a field")
                (pair,) = self._decoded(field)
                if len(field) <= _MEMO_FIELD:
                    if len(self._fields) >= _MEMO_FIELDS:
                        self._fields.clear()
                    self._fields[field] = pair
            size += len(pair[0]) + len(pair[1]) + _ENTRY_OVERHEAD
            if size > self._largest:
                raise OversizedHeaderListError(f"More than {self._largest} bytes of headers")
            found.append(pair)
            position = after
        return tuple(found)


def _field_end(block: bytes, position: int) -> int:
    """Where the field that begins here ends (RFC 7541, 6); beyond the block where it is cut off."""
    first = block[position]
    if first & 0x80:
        return _after_number(block, position, 0x7F)
    literal_name = not first & (0x3F if first & 0x40 else 0x0F)
    position = _after_number(block, position, 0x3F if first & 0x40 else 0x0F)
    if literal_name:
        position = _after_string(block, position)
    return _after_string(block, position)


def _after_string(block: bytes, position: int) -> int:
    if position >= len(block):
        return position
    length = block[position] & 0x7F
    if length < 0x7F:
        return position + 1 + length
    shift = 0
    for place in range(position + 1, len(block)):
        length += (block[place] & 0x7F) << shift
        shift += 7
        if block[place] < 0x80:
            return place + 1 + length
        if shift > _LONGEST_SHIFT:
            break
    return len(block)


def _after_number(block: bytes, position: int, prefix: int) -> int:
    if block[position] & prefix < prefix:
        return position + 1
    for place in range(position + 1, len(block)):
        if block[place] < 0x80:
            return place + 1
    return len(block)
