"""Clients are asked to connect anew when their connection has become old, and lose nothing by it."""

from __future__ import annotations

import asyncio

import grpc

from modelpress.sidecar import farewell, frames
from modelpress.sidecar.headers import encode

PREDICT = "/tensorflow.serving.PredictionService/Predict"


async def test_clients_under_load_move_to_new_connections_and_lose_nothing(sidecar, a_request, until):
    """A client as it comes, with the transparent retries that gRPC asks of every client."""
    stop, answered = asyncio.Event(), 0
    address, known = f"127.0.0.1:{sidecar.grpc.port}", set()

    async def client(number: int) -> None:
        nonlocal answered
        async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary(PREDICT)
            while not stop.is_set():
                await asyncio.gather(*(call(a_request(number, step), timeout=10) for step in range(8)))
                known.update(sidecar.connections.seen)
                answered += 8

    clients = [asyncio.ensure_future(client(number)) for number in range(3)]
    told = 0
    for _ in range(5):
        before = answered
        await until(lambda before=before: answered >= before + 96)
        told += await sidecar.connections.age(0, sidecar.grpc.port)
    stop.set()
    await asyncio.gather(*clients)
    assert told == 15
    assert len(known) > 9


async def test_young_connections_are_left_alone(sidecar, calling, a_request):
    await calling(sidecar)(a_request(1))
    assert await sidecar.connections.age(300, sidecar.grpc.port) == 0


async def test_a_call_in_flight_ends_on_the_connection_that_was_told(sidecar, upstream, a_request, until):
    upstream.gate.clear()
    head = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", PREDICT.encode()), (b":authority", b"x"))
    block = encode((*head, (b"content-type", b"application/grpc"), (b"te", b"trailers")))
    message = a_request(1)
    body = b"\0" + len(message).to_bytes(4, "big") + message
    reader, writer = await asyncio.open_connection("127.0.0.1", sidecar.grpc.port)
    writer.write(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0))
    writer.write(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block))
    writer.write(frames.frame(frames.DATA, frames.END_STREAM, 1, body))
    await until(lambda: upstream.running == 1)
    assert await sidecar.connections.age(0, sidecar.grpc.port) == 1
    upstream.gate.set()
    splitter, kinds = frames.Splitter(1 << 20), []
    async with asyncio.timeout(5):
        while frames.DATA not in kinds:
            kinds += [received.kind for received in splitter.feed(await reader.read(1 << 16))]
    assert kinds.index(frames.GOAWAY) < kinds.index(frames.DATA)
    writer.close()


async def test_connections_that_have_gone_are_forgotten(sidecar, a_request):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{sidecar.grpc.port}") as channel:
        await channel.unary_unary(PREDICT)(a_request(1), timeout=10)
    async with asyncio.timeout(5):
        while sidecar.connections.seen:
            await sidecar.connections.age(0, sidecar.grpc.port)
            await asyncio.sleep(0.01)


async def test_connections_that_have_gone_are_forgotten_also_where_none_is_ever_too_old(
    sidecar, a_request, monkeypatch, until
):
    monkeypatch.setattr(farewell, "ROUND", 0.01)
    watching = asyncio.ensure_future(sidecar.connections.watch(lambda: 0.0, sidecar.grpc.port))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{sidecar.grpc.port}") as channel:
        await channel.unary_unary(PREDICT)(a_request(1), timeout=10)
        assert sidecar.connections.seen
    await until(lambda: not sidecar.connections.seen)
    watching.cancel()
