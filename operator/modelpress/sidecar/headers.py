"""Header blocks of HTTP/2 connections: literals that touch no dynamic table, and a memo for what comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple

Headers = tuple[tuple[bytes, bytes], ...]

LARGEST_LIST = 1 << 18
"""Bytes of decoded headers."""
_MEMO_ENTRIES = 256
_MEMO_BLOCK = 512

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
    and the few blocks that gRPC clients and servers repeat are remembered by their bytes.
    """

    def __init__(self, meaning: Callable[[Headers], Meaning], largest: int = LARGEST_LIST) -> None:
        self._decoder: Any = Decoder(max_header_list_size=largest)
        self._meaning = meaning
        self._memo: dict[bytes, Meaning] = {}

    def decode(self, block: bytes) -> Meaning:
        """Raises hpack.HPACKError where the block is malformed or too large."""
        known = self._memo.get(block)
        if known is not None:
            return known
        decoded: Iterable[HeaderTuple] = self._decoder.decode(block, raw=True)
        headers = self._meaning(tuple((bytes(name), bytes(value)) for name, value in decoded))
        if self._decoder.header_table.maxsize:
            self._memo.clear()
        elif not _resizes(block) and len(block) <= _MEMO_BLOCK:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            self._memo[block] = headers
        return headers


def _resizes(block: bytes) -> bool:
    """Whether the block begins with a change of the table's size, which must always be carried out."""
    return bool(block) and block[0] & 0xE0 == 0x20
