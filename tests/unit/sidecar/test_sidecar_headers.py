"""Header blocks are read as hpack reads them, however much of them was seen before."""

from __future__ import annotations

import random

import pytest
from hpack import Decoder, Encoder, HPACKError

from modelpress.sidecar.headers import BlockDecoder, encode

NO_TABLE = b"\x20"
NAMES = (b":path", b":method", b"te", b"grpc-timeout", b"traceparent", b"x" * 40, b"content-type", b"accept", b"")
VALUES = (b"", b"POST", b"trailers", b"9999m", b"\xff\0\x80", b"v" * 300, b"v" * 2000, b"application/grpc")


def as_it_is(headers):
    return headers


def stateless(encoder: Encoder) -> Encoder:
    encoder.header_table_size = 0
    encoder.encode([])  # says so
    return encoder


def test_blocks_of_a_client_without_a_table_are_read_as_hpack_reads_them():
    chance = random.Random(7)
    encoder, ours, theirs = stateless(Encoder()), BlockDecoder(as_it_is), Decoder(max_header_list_size=1 << 20)
    for decoder in (ours, theirs):
        decoder.decode(NO_TABLE)
    for _ in range(500):
        headers = [(chance.choice(NAMES), chance.choice(VALUES)) for _ in range(chance.randrange(6))]
        block = encoder.encode(headers, huffman=bool(chance.randrange(2)))
        assert list(ours.decode(block)) == [tuple(pair) for pair in theirs.decode(block, raw=True)] == headers


def test_blocks_that_are_cut_or_changed_are_read_or_refused_as_by_hpack():
    chance = random.Random(8)
    encoder = stateless(Encoder())
    for _ in range(1500):
        headers = [(chance.choice(NAMES), chance.choice(VALUES[:6])) for _ in range(4)]
        block = bytearray(encoder.encode(headers, huffman=bool(chance.randrange(2))))
        del block[chance.randrange(len(block)) :]
        for _ in range(chance.randrange(4)):
            if block:
                block[chance.randrange(len(block))] = chance.randrange(256)
        assert told(BlockDecoder(as_it_is), bytes(block)) == told(None, bytes(block)), bytes(block)


def told(ours: BlockDecoder | None, block: bytes) -> object:
    """What a decoder makes of a block in two encounters, `refused` for an error."""
    theirs = Decoder(max_header_list_size=1 << 18)
    found = []
    for one in (NO_TABLE, block, block):
        try:
            read = ours.decode(one) if ours else theirs.decode(one, raw=True)
        except HPACKError:
            found.append("refused")
            break
        found.append([tuple(pair) for pair in read])
    return found


def test_a_client_that_keeps_a_table_is_understood():
    encoder, decoder = Encoder(), BlockDecoder(as_it_is)
    for number in (1, 2, 1, 3):
        headers = ((b":path", b"/a"), (b"x", str(number).encode()))
        assert decoder.decode(encoder.encode(headers)) == headers


def test_a_table_that_comes_back_ends_the_memory_of_what_blocks_meant():
    decoder = BlockDecoder(as_it_is)
    decoder.decode(NO_TABLE)
    block = encode(((b"x", b"1"),))
    assert decoder.decode(block) == decoder.decode(block) == ((b"x", b"1"),)
    encoder = Encoder()
    encoder.header_table_size = 100
    encoder.header_table_size = 4096
    for number in (1, 1, 2):
        headers = ((b"y", str(number).encode()),)
        assert decoder.decode(encoder.encode(headers)) == headers


def test_headers_are_bounded_in_all():
    decoder = BlockDecoder(as_it_is, 1000)
    decoder.decode(NO_TABLE)
    block = encode(((b"x", b"v" * 100),))
    assert decoder.decode(block * 7)
    with pytest.raises(HPACKError):
        decoder.decode(block * 8)
