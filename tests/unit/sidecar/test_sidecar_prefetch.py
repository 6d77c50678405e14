"""Common questions are asked before anybody waits for the answers, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from pathlib import Path

import pytest

from modelpress.api.errors import Invalid
from modelpress.sidecar import popular
from modelpress.sidecar.key import Identity
from modelpress.sidecar.popular import CAPACITY, EVERY, Asked, Popular
from modelpress.sidecar.wire_pb2 import PredictionLog, PredictRequest

NEW = Identity("m", "sha256:" + "9" * 64)
DISK = {"cache": {"diskBytes": 2**24}}


def records(path: Path, *contents: bytes) -> Path:
    """A TFRecord file; nobody looks at its checksums."""
    path.write_bytes(b"".join(struct.pack("<Q4x", len(content)) + content + bytes(4) for content in contents))
    return path


def log(request: bytes) -> bytes:
    """As TensorFlow Serving records it for warm-up: without a model's name."""
    parsed = PredictRequest.FromString(request)
    parsed.model_spec.ClearField("name")
    found = PredictionLog()
    found.predict_log.request.CopyFrom(parsed)
    return found.SerializeToString()


def progress(sidecar) -> dict:
    return sidecar.state()["cache"]["prefetch"]


async def test_recorded_requests_are_answered_before_they_come(
    start, upstream, calling, a_request, tmp_path, until, outcomes
):
    path = records(tmp_path / "common", *(log(a_request(number)) for number in range(5)))
    sidecar = await start(prefetch_file=path)
    await until(lambda: progress(sidecar)["phase"] == "Done")
    assert (progress(sidecar)["answered"], upstream.calls["Predict"], upstream.most_running) == (5, 5, 1)
    await calling(sidecar)(a_request(3))
    assert outcomes(sidecar) == {"requests": 1, "hits": 1}


async def test_what_is_no_predict_request_for_this_model_is_left_out(start, a_request, tmp_path, until):
    other = PredictionLog.FromString(log(a_request(1)))
    other.predict_log.request.model_spec.name = "other"
    path = records(tmp_path / "common", b"\xff", b"", other.SerializeToString(), log(a_request(1)), log(a_request(1)))
    sidecar = await start(prefetch_file=path)
    await until(lambda: progress(sidecar)["phase"] == "Done")
    assert {name: count for name, count in progress(sidecar).items() if count} == {
        "phase": "Done",
        "total": 5,
        "unsuitable": 3,
        "answered": 1,
        "known": 1,
    }


async def test_a_file_that_cannot_be_read_stops_nothing(start, calling, a_request, tmp_path, until, caplog):
    (tmp_path / "common").write_bytes(b"torn")
    sidecar = await start(prefetch_file=tmp_path / "common")
    await until(lambda: progress(sidecar)["phase"] == "Done")
    assert await calling(sidecar)(a_request(1))
    assert "Common requests cannot be prefetched" in caplog.text


async def test_live_requests_come_first(start, upstream, calling, a_request, tmp_path, until):
    path = records(tmp_path / "common", *(log(a_request(number)) for number in range(100, 103)))
    upstream.gate.clear()
    sidecar = await start({"concurrency": {"limit": 2}})
    call = calling(sidecar)
    live = asyncio.ensure_future(call(a_request(1)))
    await until(lambda: upstream.running == 1)
    running = asyncio.ensure_future(sidecar.upkeep.prefetch.run(path, []))
    await asyncio.sleep(0.1)
    assert (upstream.calls["Predict"], progress(sidecar)["answered"]) == (1, 0)
    upstream.gate.set()
    await live
    await running
    assert upstream.calls["Predict"] == 4


async def test_who_asks_what_is_being_prefetched_shares_the_call(
    start, upstream, calling, a_request, tmp_path, until, outcomes
):
    path = records(tmp_path / "common", log(a_request(1)))
    upstream.gate.clear()
    sidecar = await start(prefetch_file=path)
    await until(lambda: upstream.running == 1)
    call = asyncio.ensure_future(calling(sidecar)(a_request(1)))
    await until(lambda: sidecar.pipeline.measures.active == 1)
    upstream.gate.set()
    await call
    assert (upstream.calls["Predict"], outcomes(sidecar)) == (1, {"requests": 1, "coalesced": 1})


async def test_readiness_does_not_wait_for_it(start, upstream, a_request, tmp_path, until, http):
    upstream.gate.clear()
    sidecar = await start(prefetch_file=records(tmp_path / "common", log(a_request(1))))
    await until(lambda: upstream.running == 1)
    async with http.get(f"http://127.0.0.1:{sidecar.admin.port}/readyz") as response:
        assert response.status == 200


async def test_it_ends_before_it_displaces_anything(start, a_request, tmp_path, until):
    path = records(tmp_path / "common", *(log(a_request(*range(number, number + 400))) for number in range(40)))
    sidecar = await start({"cache": {"memoryBytes": 40_000}}, prefetch_file=path)
    await until(lambda: progress(sidecar)["phase"] == "Done")
    assert progress(sidecar)["leftOut"] > 0
    assert "evictions" not in sidecar.state()["cache"] or not sidecar.state()["cache"]["evictions"]


async def test_a_new_revision_asks_what_was_popular_before(
    start, upstream, calling, a_request, tmp_path, until, outcomes, http
):
    old = await start(DISK, disk_directory=tmp_path / "disk")
    call = calling(old)
    for number in (1, 2, 3):
        for _ in range(2 * EVERY):
            await call(a_request(number))
    body = json.dumps({"instances": [1]})
    for _ in range(EVERY + 1):
        async with http.post(f"http://127.0.0.1:{old.rest.port}/v1/models/m:predict", data=body) as response:
            assert response.status == 200
    await old.drain(quiet=0.0)
    await old.stop()
    upstream.calls.clear()
    new = await start(DISK, disk_directory=tmp_path / "disk", identity=NEW)
    await until(lambda: progress(new)["phase"] == "Done")
    assert progress(new)["answered"] == 4
    assert upstream.calls["Predict"] == 3
    await calling(new)(a_request(2))
    assert outcomes(new) == {"requests": 1, "hits": 1}


async def test_a_pod_that_knows_little_yet_hands_on_what_it_was_handed(start, calling, a_request, tmp_path, until):
    first = await start(DISK, disk_directory=tmp_path / "disk")
    call = calling(first)
    for number in (1, 2):
        for _ in range(EVERY + 1):
            await call(a_request(number))
    await first.drain(quiet=0.0)
    await first.stop()
    second = await start(DISK, disk_directory=tmp_path / "disk", identity=NEW)
    await until(lambda: progress(second)["phase"] == "Done")
    call = calling(second)
    for _ in range(EVERY + 1):
        await call(a_request(3))
    await second.drain(quiet=0.0)
    await second.stop()
    third = await start(DISK, disk_directory=tmp_path / "disk", identity=NEW)
    await until(lambda: progress(third)["phase"] == "Done")
    assert progress(third)["total"] == 3


def asked(number: int, size: int = 10) -> Asked:
    return Asked("grpc", "/p", b"%d" % number + bytes(size))


def test_the_most_popular_come_first_and_the_least_make_room():
    found = Popular()
    for number in range(CAPACITY):
        found.add(number.to_bytes(32, "big"), asked(number))
    for _ in range(3):
        assert found.knows((7).to_bytes(32, "big"))
    found.add(b"n" * 32, asked(10_000))
    assert len(found) == CAPACITY
    assert found.top()[0] == asked(7)
    assert found.top()[1] == asked(10_000)  # takes over the count of what made room


def test_large_requests_are_not_handed_over_nor_too_many():
    found = Popular()
    found.add(b"l" * 32, asked(1, popular.LARGEST_BODY))
    assert len(found) == 0
    for number in range(CAPACITY):
        found.add(number.to_bytes(32, "big"), asked(number, popular.LARGEST_BODY - 10))
    assert sum(len(one.body) for one in popular.chosen(found.top())) <= popular.LARGEST_ALL
    assert len(popular.chosen(asked(number) for number in range(2 * popular.TOP))) == popular.TOP


def test_what_is_handed_over_is_whole_and_for_this_model():
    given = [asked(1), Asked("rest", "/v1/models/m:predict", b"\xff\0")]
    content = popular.encode("m", given, now=1000)
    assert popular.decode("m", content, now=2000) == given
    assert popular.decode("other", content, now=2000) == []
    assert popular.decode("m", content[:-1], now=2000) == []


async def test_a_purge_forgets_what_was_popular_too(start, calling, a_request, tmp_path):
    sidecar = await start({"cache": {"diskBytes": 2**23}}, disk_directory=tmp_path / "disk")
    call = calling(sidecar)
    for _ in range(EVERY + 1):
        await call(a_request(1))
    await sidecar.upkeep.hand_over(0)
    (content,) = await sidecar.pipeline.lower.noted(popular.NOTE)
    assert popular.decode("m", content, now=time.time())
    await sidecar.upkeep.purge(None)
    await sidecar.upkeep.hand_over(0)
    (content,) = await sidecar.pipeline.lower.noted(popular.NOTE)
    assert not popular.decode("m", content, now=time.time())


async def test_a_disk_tier_without_a_size_is_refused(start, tmp_path):
    with pytest.raises(Invalid, match=r"--disk-dir: .* is to hold 0 bytes; set cache\.diskBytes"):
        await start(disk_directory=tmp_path / "disk")
