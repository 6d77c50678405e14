"""Clients that ask for work and bring nothing are sent away, and those that are merely busy are not."""

from __future__ import annotations

import struct

import pytest

from modelpress.sidecar import frames, nuisance
from modelpress.sidecar.frames import Code, Setting

CANCEL = struct.pack(">I", Code.CANCEL)
MANY = nuisance.BURST + 1000


def flood_of(name: str, wire) -> tuple[bytes, bytes]:
    """What comes first, and what comes again and again."""
    opened = wire.headers(1)
    return {
        "ping": (b"", frames.frame(frames.PING, 0, 0, bytes(8))),
        "pong": (b"", frames.frame(frames.PING, frames.ACK, 0, bytes(8))),
        "settings": (b"", frames.settings({Setting.INITIAL_WINDOW_SIZE: 65_535})),
        "acknowledgements": (b"", frames.frame(frames.SETTINGS, frames.ACK, 0)),
        "priority": (b"", frames.frame(frames.PRIORITY, 0, 1, bytes(5))),
        "unknown": (b"", frames.frame(200, 0, 1, b"x")),
        "resets of what has ended": (
            opened + frames.frame(frames.RST_STREAM, 0, 1, CANCEL),
            frames.frame(frames.RST_STREAM, 0, 1, CANCEL),
        ),
        "empty data": (opened, frames.frame(frames.DATA, 0, 1)),
        "padding": (opened, frames.frame(frames.DATA, frames.PADDED, 1, b"\3" + bytes(3))),
        "empty data of what has ended": (
            opened + frames.frame(frames.RST_STREAM, 0, 1, CANCEL),
            frames.frame(frames.DATA, frames.END_STREAM, 1),
        ),
        "headers of what has ended": (opened + frames.frame(frames.RST_STREAM, 0, 1, CANCEL), opened),
        "empty continuations": (
            frames.frame(frames.HEADERS, 0, 1),
            frames.frame(frames.CONTINUATION, 0, 1),
        ),
        "a window by the byte": (
            frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}) + wire.headers(1, wire.having(method=b"GET"), end=True),
            frames.credit(0, 1),
        ),
    }[name]


FLOODS = (
    "ping",
    "pong",
    "settings",
    "acknowledgements",
    "priority",
    "unknown",
    "resets of what has ended",
    "empty data",
    "padding",
    "empty data of what has ended",
    "headers of what has ended",
    "empty continuations",
    "a window by the byte",
)


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_the_connection(client, wire, name):
    first, again = flood_of(name, wire)
    client.send(first, again * MANY)
    assert (await client.goaway())[1] == Code.ENHANCE_YOUR_CALM
    await client.end()


@pytest.mark.parametrize("name", FLOODS)
async def test_a_few_of_the_same_do_not(client, wire, a_request, name):
    first, again = flood_of(name, wire)
    ends = frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1) if "continuations" in name else b""
    client.send(first, again * 20, ends, wire.request(3, a_request(1)), frames.credit(3, 1000))
    assert (await client.answer(3)).status == b"0"


async def test_rapid_resets_end_the_connection(client, sidecar, wire):
    """CVE-2023-44487."""
    numbers = range(1, 2 * MANY, 2)
    client.send(*(wire.headers(number) + frames.frame(frames.RST_STREAM, 0, number, CANCEL) for number in numbers))
    assert (await client.goaway())[1] == Code.ENHANCE_YOUR_CALM
    assert sidecar.pipeline.measures.grpc.requests == pytest.approx(nuisance.BURST, abs=500)


async def test_malformed_heads_without_end_do_as_well(client, wire):
    client.send(*(wire.headers(number, wire.having(path=None)) for number in range(1, 2 * MANY, 2)))
    assert (await client.goaway())[1] == Code.ENHANCE_YOUR_CALM


async def test_thousands_of_calls_whose_deadline_passed_do_not(client, sidecar, wire, a_request):
    """Each brought a whole request, which pays for its reset."""
    message, numbers = a_request(1), range(1, 4 * MANY, 2)
    for number in numbers:
        client.send(wire.request(number, message), frames.frame(frames.RST_STREAM, 0, number, CANCEL))
    last = numbers[-1] + 2
    client.send(wire.request(last, message), frames.credit(0, 1 << 20))
    assert (await client.answer(last)).status == b"0"
    assert sidecar.pipeline.measures.grpc.requests == len(numbers) + 1


async def test_time_makes_good_for_nuisance():
    now = 0.0
    budget = nuisance.Nuisance(lambda: now)
    for _ in range(nuisance.BURST):
        budget.add()
    for _ in range(100):
        now += 1.0
        for _ in range(nuisance.PER_SECOND - 1):
            budget.add()
    with pytest.raises(frames.ProtocolError):
        for _ in range(2 * nuisance.PER_SECOND):
            budget.add()
