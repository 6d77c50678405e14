"""Calls over our own HTTP/2 connections: what is a request, what is refused, and how others never notice."""

from __future__ import annotations

import asyncio
import struct

import hpack
import pytest

from modelpress.sidecar import frames, parting
from modelpress.sidecar.frames import Code

MODEL_STATUS = b"/tensorflow.serving.ModelService/GetModelStatus"


async def test_a_call_and_its_answer(client, wire, a_request):
    client.send(wire.request(1, a_request(1)))
    answered = await client.answer(1)
    assert (answered.headers[b":status"], answered.headers[b"content-type"]) == (b"200", b"application/grpc")
    assert answered.status == b"0"
    assert b"digest" in answered.message


async def test_everything_may_come_byte_by_byte(connect, sidecar, wire, a_request):
    client = await connect(sidecar, mute=True)
    for byte in frames.PREFACE + frames.settings({}) + wire.request(1, a_request(1)):
        client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.answer(1)).status == b"0"


async def test_everything_may_come_at_once(connect, sidecar, wire, a_request):
    client = await connect(sidecar, mute=True)
    calls = (wire.request(number, a_request(number % 6)) for number in range(1, 60, 2))
    client.send(frames.PREFACE, frames.settings({}), *calls)
    assert {(await client.answer(number)).status for number in range(1, 60, 2)} == {b"0"}
    assert sidecar.pipeline.measures.grpc.requests == 30


@pytest.mark.parametrize("asked", [b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/1.1\r\n\r\n"])
async def test_a_client_without_http2_is_told_where_it_is(connect, sidecar, asked):
    client = await connect(sidecar, mute=True)
    client.send(asked)
    answer = await asyncio.wait_for(client.reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"REST has a port of its own" in answer


@pytest.mark.parametrize(
    "changed", [{"content_type": b"application/json"}, {"method": b"GET"}, {"path": b"/a/b?query=1"}]
)
async def test_what_is_no_grpc_is_told_so_in_http(client, wire, changed):
    client.send(wire.headers(1, wire.having(**changed), end=True))
    answered = await client.answer(1)
    assert answered.headers[b":status"] == b"415"
    assert b"content-type of application/grpc" in answered.body


_MALFORMED = {
    "no method": lambda head: [pair for pair in head if pair[0] != b":method"],
    "no path": lambda head: [pair for pair in head if pair[0] != b":path"],
    "no scheme": lambda head: [pair for pair in head if pair[0] != b":scheme"],
    "an empty path": lambda head: [(name, b"" if name == b":path" else value) for name, value in head],
    "two paths": lambda head: [(b":path", b"/"), *head],
    "a pseudo-header of answers": lambda head: [(b":status", b"200"), *head],
    "a late pseudo-header": lambda head: [*head, (b":path", b"/")],
    "upper case": lambda head: [*head, (b"X-Upper", b"1")],
    "a header of HTTP/1.1": lambda head: [*head, (b"connection", b"close")],
    "transfer-encoding": lambda head: [*head, (b"transfer-encoding", b"chunked")],
    "te of something else": lambda head: [(name, b"gzip" if name == b"te" else value) for name, value in head],
    "a line break": lambda head: [*head, (b"x-a", b"1\r\nx-b: 2")],
    "a header without a name": lambda head: [*head, (b"", b"1")],
}


@pytest.mark.parametrize("spoil", _MALFORMED.values(), ids=_MALFORMED)
async def test_a_malformed_head_is_reset_and_others_live_on(client, upstream, wire, a_request, spoil):
    client.send(wire.request(1, a_request(1), tuple(spoil(wire.head))), wire.request(3, a_request(2)))
    assert (await client.answer(1)).reset == Code.PROTOCOL_ERROR
    assert (await client.answer(3)).status == b"0"
    assert upstream.calls["Predict"] == 1


@pytest.mark.parametrize("number", [0, 2])
async def test_streams_of_clients_have_odd_numbers(client, wire, a_request, number):
    client.send(wire.headers(number))
    assert await client.goaway() == (0, Code.PROTOCOL_ERROR)
    await client.end()


async def test_a_stream_that_has_been_is_not_opened_again(client, sidecar, wire, a_request):
    client.send(wire.request(5, a_request(1)))
    await client.answer(5)
    client.send(wire.request(5, a_request(2)), wire.request(3, a_request(3)), wire.request(7, a_request(1)))
    assert (await client.answer(7)).status == b"0"
    assert not [frame for frame in client.received if frame.stream in (3, 5)]
    assert sidecar.pipeline.measures.grpc.requests == 2


async def test_trailers_end_a_request(client, wire, a_request):
    whole = wire.request(1, a_request(1))
    end = frames.frame(frames.DATA, 0, 1) + wire.headers(1, ((b"x-checksum", b"1"),), end=True)
    client.send(whole.replace(frames.head(frames.DATA, frames.END_STREAM, 1, 0)[3:], bytes((0, 0, 0, 0, 0, 1))), end)
    assert (await client.answer(1)).status == b"0"


async def test_a_second_head_that_does_not_end_the_stream_is_an_error(client, wire):
    client.send(wire.headers(1), wire.headers(1))
    assert await client.goaway() == (1, Code.PROTOCOL_ERROR)


async def test_padding_priority_and_continuation_change_nothing(client, sidecar, wire, a_request):
    message = a_request(1)
    client.send(wire.request(1, message))
    first = await client.answer(1)
    block = wire.headers(3)[9:]
    unusual = frames.PADDED | frames.HAS_PRIORITY
    body = b"\0" + len(message).to_bytes(4, "big") + message
    client.send(
        frames.frame(frames.HEADERS, unusual, 3, b"\x03" + bytes(5) + block[:4] + b"pad"),
        frames.frame(frames.CONTINUATION, 0, 3, block[4:20]),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 3, block[20:]),
        frames.frame(frames.PRIORITY, 0, 3, bytes(5)),
        frames.frame(frames.DATA, frames.PADDED, 3, b"\x05" + body[:9] + bytes(5)),
        frames.frame(frames.DATA, frames.PADDED | frames.END_STREAM, 3, b"\0" + body[9:]),
    )
    assert (await client.answer(3)).message == first.message
    assert sidecar.pipeline.measures.grpc.hits == 1


async def test_pings_are_answered_and_unknown_frames_are_not(client):
    client.send(frames.frame(99, 0, 0, b"new"), frames.frame(77, 255, 1, b"newer"))
    client.send(frames.frame(frames.PING, 0, 0, b"12345678"))
    assert (await client.until(frames.PING)).payload == b"12345678"
    kinds = [frame.kind for frame in client.received]
    assert set(kinds) <= {frames.SETTINGS, frames.WINDOW_UPDATE}


async def test_header_lists_are_bounded(client, wire):
    many = tuple((b"x-%d" % number, b"x") for number in range(600))
    client.send(wire.headers(1, (*wire.head, *many)))
    assert (await client.goaway())[1] == Code.COMPRESSION_ERROR
    await client.end()


async def test_header_blocks_are_bounded(client, wire):
    client.send(frames.frame(frames.HEADERS, 0, 1, b"\x10\x01a\x01b"))
    for _ in range(80):
        client.send(frames.frame(frames.CONTINUATION, 0, 1, b"x" * 1000))
    assert (await client.goaway())[1] == Code.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("nonsense", "code"),
    [
        (frames.head(frames.DATA, 0, 1, (1 << 20) + 1), Code.FRAME_SIZE_ERROR),
        (frames.frame(frames.DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
        (frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""), Code.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 1, b"\x88") + frames.frame(frames.PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 8), Code.COMPRESSION_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xbe"), Code.COMPRESSION_ERROR),
        (frames.frame(frames.HEADERS, frames.PADDED | frames.END_HEADERS, 1, b"\xff"), Code.PROTOCOL_ERROR),
        (frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
        (frames.frame(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), Code.PROTOCOL_ERROR),
        (frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
        (frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), Code.FLOW_CONTROL_ERROR),
        (frames.frame(frames.PING, 0, 0, b"short"), Code.FRAME_SIZE_ERROR),
        (frames.frame(frames.PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, bytes(5)), Code.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, struct.pack(">HI", 5, 0)), Code.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, struct.pack(">HI", 5, 1 << 24)), Code.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), Code.FLOW_CONTROL_ERROR),
        (frames.frame(frames.GOAWAY, 0, 0, b""), Code.FRAME_SIZE_ERROR),
    ],
)
async def test_who_breaks_the_protocol_is_told_and_sent_away(client, nonsense, code):
    client.send(nonsense)
    assert (await client.goaway())[1] == code
    await client.end()


async def test_calls_under_way_end_with_the_connection_of_who_breaks_the_protocol(
    client, sidecar, upstream, wire, a_request, until
):
    upstream.gate.clear()
    client.send(wire.request(1, a_request(1)))
    await until(lambda: upstream.running == 1)
    client.send(frames.frame(frames.PING, 0, 0, b"short"), wire.request(3, a_request(2)))
    assert await client.goaway() == (1, Code.FRAME_SIZE_ERROR)
    assert sidecar.pipeline.measures.grpc.requests == 1
    upstream.gate.set()
    await client.end()


class TestHeaderTables:
    """We ask for none, but a client may have begun before it hears of that."""

    async def test_a_client_that_keeps_one_is_understood(self, client, upstream, wire):
        encoder = hpack.Encoder()
        for number in range(1, 40, 2):
            value = str(number % 7).encode()
            block = encoder.encode((*wire.having(path=MODEL_STATUS), (b"x-turn", value)))
            client.send(frames.frame(frames.HEADERS, frames.END_HEADERS, number, block))
            client.send(frames.frame(frames.DATA, frames.END_STREAM, number, bytes(5)))
            await client.answer(number)
            assert upstream.metadata[-1]["x-turn"] == value.decode()

    async def test_one_block_with_two_meanings_is_never_taken_for_the_other(self, client, upstream, wire):
        """The last entry of the table, which is another one each time."""
        common = wire.headers(1, wire.having(path=MODEL_STATUS))[9:]
        number = iter(range(1, 1000, 2))

        async def told(block: bytes) -> str:
            stream = next(number)
            client.send(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block))
            client.send(frames.frame(frames.DATA, frames.END_STREAM, stream, bytes(5)))
            await client.answer(stream)
            return str(upstream.metadata[-1].get("x-a", ""))

        table, no_table = b"\x3f\xe1\x1f", b"\x20"
        last = common + b"\xbe"
        for value in (b"1", b"2"):
            assert await told(common + b"\x40\x03x-a\x01" + value) == value.decode()
            assert await told(last) == value.decode()
            assert await told(last) == value.decode()
        assert await told(no_table + common) == ""
        for _ in range(2):
            assert await told(common) == ""  # remembered from now on
            assert await told(common + b"\x40\x03x-a\x013") == "3"
        for value in (b"4", b"5"):
            assert await told(table + common + b"\x40\x03x-a\x01" + value) == value.decode()
            assert await told(last) == value.decode()
        client.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 999, no_table + last))
        assert (await client.goaway())[1] == Code.COMPRESSION_ERROR


class TestClientsThatLeave:
    """What they asked is counted, and makes room."""

    async def test_a_reset_frees_the_place_in_line(self, start, connect, upstream, wire, a_request, until, outcomes):
        sidecar = await start({"concurrency": {"limit": 1}})
        client, limiter = await connect(sidecar), sidecar.pipeline.limiter
        upstream.gate.clear()
        client.send(wire.request(1, a_request(1)), wire.request(3, a_request(2)))
        await until(lambda: limiter.queued == 1)
        client.send(frames.frame(frames.RST_STREAM, 0, 3, struct.pack(">I", Code.CANCEL)))
        await until(lambda: limiter.queued == 0)
        upstream.gate.set()
        assert (await client.answer(1)).status == b"0"
        assert outcomes(sidecar)["refused"] == {"ClientGone": 1}
        assert upstream.calls["Predict"] == 1

    async def test_a_reset_in_the_midst_of_a_body_gives_it_back(self, client, sidecar, wire, until, outcomes):
        client.send(wire.headers(1), frames.frame(frames.DATA, 0, 1, bytes(10_000)))
        await until(lambda: sidecar.pipeline.measures.body_bytes == 10_000)
        client.send(frames.frame(frames.RST_STREAM, 0, 1, struct.pack(">I", Code.CANCEL)))
        await until(lambda: sidecar.pipeline.measures.body_bytes == 0)
        assert outcomes(sidecar)["refused"] == {"ClientGone": 1}

    async def test_a_lost_connection_counts_each_of_its_calls(
        self, start, connect, upstream, wire, a_request, until, outcomes
    ):
        sidecar = await start({"concurrency": {"limit": 1}})
        client = await connect(sidecar)
        upstream.gate.clear()
        client.send(*(wire.request(number, a_request(number)) for number in (1, 3, 5)), wire.headers(7))
        await until(lambda: sidecar.pipeline.limiter.queued == 2 and sidecar.pipeline.measures.active == 4)
        client.writer.transport.abort()
        await until(lambda: sidecar.pipeline.limiter.queued == 0)
        upstream.gate.set()
        await until(lambda: not sidecar.pipeline.measures.active)
        assert outcomes(sidecar)["refused"] == {"ClientGone": 3}

    async def test_no_more_calls_are_open_at_once_than_we_said(self, client, wire, outcomes, sidecar):
        numbers = range(1, 2 * (parting.STREAMS + 6), 2)
        client.send(*(wire.headers(number) for number in numbers))
        refused = [await client.answer(number) for number in numbers[-6:]]
        assert {answered.reset for answered in refused} == {Code.REFUSED_STREAM}
        client.send(frames.frame(frames.RST_STREAM, 0, 1, struct.pack(">I", Code.CANCEL)))
        client.send(wire.headers(9999, wire.having(method=b"GET"), end=True))
        assert (await client.answer(9999)).headers[b":status"] == b"415"


class TestBodies:
    """They are bounded, by size and by time."""

    async def test_one_that_is_too_large_is_answered_before_it_ends(self, start, connect, wire, a_request, outcomes):
        sidecar = await start({"maxBodyBytes": 50_000})
        client = await connect(sidecar)
        client.send(wire.headers(1), *[frames.frame(frames.DATA, 0, 1, bytes(16_000))] * 4)
        answered = await client.answer(1, early=True)
        assert (answered.status, answered.reset) == (b"8", Code.NO_ERROR)
        assert answered.trailers[b"grpc-message"] == b"The request is larger than 50000 bytes"
        client.send(
            *[frames.frame(frames.DATA, 0, 1, bytes(16_000))] * 4, frames.frame(frames.DATA, frames.END_STREAM, 1)
        )
        client.send(wire.request(3, a_request(1)))
        assert (await client.answer(3)).status == b"0"
        assert sidecar.pipeline.measures.body_bytes == 0
        assert outcomes(sidecar)["refused"] == {"TooLarge": 1}

    async def test_one_that_is_too_slow_is_answered_before_it_ends(self, start, connect, wire, outcomes):
        sidecar = await start({"requestTimeoutSeconds": 0.2})
        client = await connect(sidecar)
        client.send(wire.headers(1), frames.frame(frames.DATA, 0, 1, b"\0"))
        answered = await client.answer(1, early=True)
        assert (answered.status, answered.reset) == (b"4", Code.NO_ERROR)
        client.send(wire.headers(3, wire.having(method=b"GET"), end=True))
        assert (await client.answer(3)).headers[b":status"] == b"415"
        assert outcomes(sidecar)["refused"] == {"DeadlineExceeded": 1, "Unimplemented": 1}

    @pytest.mark.parametrize("body", [b"", b"\0\0\0\0\5four", b"\0\0\0\0\5more than", b"\2\0\0\0\1x"])
    async def test_one_that_is_not_one_message_is_refused(self, client, wire, body, outcomes, sidecar):
        client.send(wire.headers(1), frames.frame(frames.DATA, frames.END_STREAM, 1, body))
        assert (await client.answer(1)).status == b"13"
        assert outcomes(sidecar)["refused"] == {"Malformed": 1}


async def test_a_long_question_is_found_again_however_it_was_cut(client, wire, upstream, a_request):
    """Its bytes are hashed as they come."""

    async def ask(stream: int, message: bytes, size: int) -> bytes:
        body = b"\0" + len(message).to_bytes(4, "big") + message
        starts = range(0, len(body), size)
        ends = [frames.END_STREAM if start == starts[-1] else 0 for start in starts]
        data = [
            frames.frame(frames.DATA, flags, stream, body[start : start + size])
            for start, flags in zip(starts, ends, strict=True)
        ]
        client.send(wire.headers(stream), *data, frames.credit(0, 1 << 20), frames.credit(stream, 1 << 20))
        return (await client.answer(stream)).message

    message = a_request(*range(30_000))
    first = await ask(1, message, 16_384)
    for number, size in enumerate((100, 4096, 16_383, len(message) + 5)):
        assert await ask(3 + 2 * number, message, size) == first
    assert upstream.calls["Predict"] == 1
    assert await ask(99, a_request(*range(29_999), 7), 16_384) != first
    assert upstream.calls["Predict"] == 2


@pytest.mark.parametrize("flags", [frames.END_HEADERS, 0])
async def test_a_header_block_over_the_limit_is_not_decoded(flags, client, sidecar):
    """Decoding it would hold up everybody else."""
    block = b"\x10\x01a\x7f\xe1\xff\x3f" + bytes(1 << 20)
    client.send(frames.frame(frames.HEADERS, flags, 1, block[: (1 << 20) - 9]))
    client.send(frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""))
    assert (await client.goaway())[1] == Code.ENHANCE_YOUR_CALM


async def test_long_header_blocks_are_a_nuisance_long_before_they_do_harm(client, sidecar, wire, a_request):
    for number in range(1, 4000, 2):
        client.send(wire.headers(number, (*wire.having(path=b"/a.B/C"), (b"x", b"y" * 14_000))))
    assert (await client.goaway())[1] == Code.ENHANCE_YOUR_CALM
