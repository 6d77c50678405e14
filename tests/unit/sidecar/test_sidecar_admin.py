"""The administration port tells the truth about the sidecar."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import aiohttp
import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelpress.api.errors import Invalid
from modelpress.sidecar import address
from modelpress.sidecar.listener import listen
from modelpress.sidecar.reload import TunablesFile
from modelpress.status import cache_effect


@pytest.fixture
def get(http):
    """Asks the administration port: status and text."""

    async def do(sidecar, path, method="GET"):
        async with http.request(method, f"http://127.0.0.1:{sidecar.admin.port}{path}") as response:
            return response.status, await response.text()

    return do


async def scraped(get, sidecar) -> dict[str, float]:
    """Sums of all samples by name."""
    _, text = await get(sidecar, "/metrics")
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


async def test_ready_means_that_a_version_is_available_and_200_is_not_enough(sidecar, upstream, get):
    assert await get(sidecar, "/readyz") == (200, "ok\n")
    upstream.state = "LOADING"
    assert await get(sidecar, "/readyz") == (503, "Version 7 is LOADING\n")
    assert (await get(sidecar, "/healthz"))[0] == 200


async def test_not_ready_while_the_server_does_not_answer(start, upstream, get):
    sidecar = await start()
    await upstream.stop()
    status, text = await get(sidecar, "/readyz")
    assert status == 503
    assert "does not answer" in text


async def test_administration_is_not_on_the_data_ports(sidecar, http):
    async with http.get(f"http://127.0.0.1:{sidecar.rest.port}/drain") as response:
        assert (await response.json())["path"] == "/drain"  # the model server's answer
    async with http.get(f"http://127.0.0.1:{sidecar.grpc.port}/drain") as response:
        assert response.status >= 400
    assert not sidecar.draining


async def test_unknown_paths_and_methods_are_refused(sidecar, get):
    assert (await get(sidecar, "/debug"))[0] == 404
    assert (await get(sidecar, "/purge"))[0] == 405
    assert (await get(sidecar, "/state", "DELETE"))[0] == 405
    assert (await get(sidecar, "/drain?quiet=soon"))[0] == 400


async def test_outcomes_add_up_to_requests_exactly(start, upstream, get, calling, a_request, http, until):
    sidecar = await start({"concurrency": {"limit": 1, "queueDepth": 0}})
    call = calling(sidecar)
    for _ in range(3):
        await call(a_request(1))
    await call(b"", method="/tensorflow.serving.ModelService/GetModelStatus")
    await asyncio.gather(call(b"", method="/tensorflow.ProfilerService/Profile"), return_exceptions=True)
    upstream.gate.clear()
    shared = [asyncio.ensure_future(call(a_request(2))) for _ in range(2)]
    await until(lambda: sidecar.pipeline.measures.active == 2 and upstream.running == 1)
    await asyncio.gather(call(a_request(3)), return_exceptions=True)
    upstream.gate.set()
    await asyncio.gather(*shared)
    async with http.post(f"http://127.0.0.1:{sidecar.rest.port}/v1/models/m:predict", data=b"{}"):
        pass
    sums = await scraped(get, sidecar)
    names = ("hits", "misses", "coalesced", "bypassed", "refused")
    counted = {name: sums[f"modelpress_sidecar_{name}_total"] for name in names}
    assert counted == {"hits": 2, "misses": 3, "coalesced": 1, "bypassed": 1, "refused": 2}
    assert sums["modelpress_sidecar_requests_total"] == sum(counted.values())
    assert sums["modelpress_sidecar_upstream_seconds_count"] == 4
    assert sums["modelpress_sidecar_cache_entries"] == 3


async def test_in_flight_and_queued_are_what_an_autoscaler_would_read(start, upstream, get, calling, a_request, until):
    sidecar = await start({"concurrency": {"limit": 2}})
    upstream.gate.clear()
    call = calling(sidecar)
    calls = [asyncio.ensure_future(call(a_request(n))) for n in range(5)]
    await until(lambda: sidecar.pipeline.limiter.queued == 3)
    sums = await scraped(get, sidecar)
    assert (sums["modelpress_sidecar_in_flight"], sums["modelpress_sidecar_queued"]) == (2, 3)
    upstream.gate.set()
    await asyncio.gather(*calls)


async def test_state_says_what_was_asked_for_and_what_is_in_force(start, get):
    sidecar = await start(
        {"cache": {"mode": "Auto", "policy": "TinyLFU"}, "concurrency": {"mode": "Elastic", "limit": 3}}
    )
    state = json.loads((await get(sidecar, "/state"))[1])
    assert (state["cache"]["mode"], state["cache"]["effectiveMode"]) == ("Auto", "Enabled")
    assert (state["cache"]["policy"], state["cache"]["effectivePolicy"]) == ("TinyLFU", "TinyLFU")
    assert (state["concurrency"]["mode"], state["concurrency"]["effectiveMode"]) == ("Elastic", "Elastic")
    assert state["model"] == "m"
    assert state["upstream"]["versions"] == [7]


async def test_the_operator_reads_from_the_state_whether_the_cache_pays(start, get):
    sidecar = await start({"cache": {"mode": "Auto"}})
    state = json.loads((await get(sidecar, "/state"))[1])
    reading = cache_effect.read(state, state["artifactDigest"])
    assert reading == (("Unknown", "NotMeasured", "Too few requests have come to tell."), True)


async def test_tunables_change_without_a_restart_by_a_configmaps_symlink_swap(start, tmp_path, until, get, monkeypatch):
    monkeypatch.setattr("modelpress.sidecar.reload.PERIOD", 0.01)
    folder = tmp_path / "mounted"
    swap(folder, "first", {"concurrency": {"limit": 3}})
    sidecar = await start(config_directory=folder)
    assert sidecar.pipeline.limiter.limit == 3
    swap(folder, "second", {"concurrency": {"limit": 5}, "cache": {"mode": "Disabled"}})
    await until(lambda: sidecar.pipeline.limiter.limit == 5)
    assert json.loads((await get(sidecar, "/state"))[1])["cache"]["effectiveMode"] == "Disabled"


def swap(folder: Path, name: str, tunables: dict) -> None:
    """As the kubelet does it: a new directory, and `..data` renamed over to it."""
    (folder / name).mkdir(parents=True)
    (folder / name / "sidecar.json").write_text(json.dumps(tunables))
    (folder / "..new").symlink_to(name)
    os.replace(folder / "..new", folder / "..data")
    if not (folder / "sidecar.json").is_symlink():
        (folder / "sidecar.json").symlink_to("..data/sidecar.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "Invalid JSON"), ('{"concurrency": {"limit": 0}}', "concurrency.limit"), (None, "No such file")],
)
async def test_invalid_tunables_change_nothing_and_are_reported(text, said, start, tmp_path, until, get, monkeypatch):
    monkeypatch.setattr("modelpress.sidecar.reload.PERIOD", 0.01)
    sidecar = await start({"concurrency": {"limit": 3}})
    file = tmp_path / "sidecar.json"
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    await until(lambda: sidecar.file.error)
    state = json.loads((await get(sidecar, "/state"))[1])["tunables"]
    assert state["valid"] is False
    assert said in state["error"]
    assert sidecar.pipeline.limiter.limit == 3
    assert (await scraped(get, sidecar))["modelpress_sidecar_tunables_valid"] == 0
    file.write_text('{"concurrency": {"limit": 4}}')
    await until(lambda: sidecar.pipeline.limiter.limit == 4)
    assert (await scraped(get, sidecar))["modelpress_sidecar_tunables_valid"] == 1


async def test_disabling_the_cache_forgets_and_bypasses(
    start, tmp_path, upstream, calling, a_request, until, monkeypatch
):
    monkeypatch.setattr("modelpress.sidecar.reload.PERIOD", 0.01)
    sidecar = await start()
    call = calling(sidecar)
    await call(a_request(1))
    (tmp_path / "sidecar.json").write_text('{"cache": {"mode": "Disabled"}}')
    await until(lambda: sidecar.pipeline.tunables.cache.mode == "Disabled")
    await call(a_request(1))
    assert upstream.calls["Predict"] == 2
    assert len(sidecar.pipeline.memory) == 0


async def test_a_port_that_is_taken_is_named_with_its_option(start, sidecar):
    with pytest.raises(Invalid, match=f"--rest-port: {sidecar.rest.port} on 127.0.0.1 cannot be listened on"):
        await start(rest_port=sidecar.rest.port)


@pytest.mark.parametrize("text", ["server", "server:0", "server:http", "unix:", ":99999"])
def test_an_address_that_is_none_is_refused_with_its_option(text):
    with pytest.raises(Invalid, match="--upstream-grpc"):
        address.parse(text, field="--upstream-grpc")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server:1", ("server", 1, "")),
        ("[::1]:1", ("::1", 1, "")),
        (":1", ("127.0.0.1", 1, "")),
        ("unix:/run/s", ("", 0, "/run/s")),
        ("unix:///run/s", ("", 0, "/run/s")),
    ],
)
def test_addresses(text, expected):
    assert address.parse(text, field="x") == expected


@pytest.mark.parametrize(
    ("tunables", "said"),
    [
        ({"cache": {"memoryBytes": 2**60}}, "cache.memoryBytes"),
        ({"cache": {"ttlSeconds": 1e300}}, "cache.ttlSeconds"),
        ({"cache": {"ttlSeconds": float("inf")}}, "cache.ttlSeconds"),
        ({"requestTimeoutSeconds": float("nan")}, "requestTimeoutSeconds"),
        ({"maxBodyBytes": 2**40}, "maxBodyBytes"),
        ({"concurrency": {"queueDepth": 10**9}}, "concurrency.queueDepth"),
        ({"concurrency": {"min": 5, "limit": 4}}, "min must not exceed limit"),
    ],
)
def test_tunables_that_cannot_be_meant_are_refused_by_name(tunables, said, tmp_path):
    (tmp_path / "sidecar.json").write_text(json.dumps(tunables))
    file = TunablesFile(tmp_path)
    assert not file.load()
    assert said in file.error


def test_what_a_newer_operator_writes_is_told_and_the_rest_is_in_force(tmp_path):
    """A pod that starts again after an operator's upgrade must not fall back to defaults."""
    written = {"cache": {"ttlSeconds": 60, "colour": 1}, "concurrency": {"limit": 3}, "weather": {"sun": True}}
    (tmp_path / "sidecar.json").write_text(json.dumps(written))
    file = TunablesFile(tmp_path)
    assert file.load()
    assert (file.current.cache.ttl_seconds, file.current.concurrency.limit) == (60, 3)
    assert (file.unknown, file.error) == (("cache.colour", "weather"), "")


def test_a_file_that_recovers_is_valid_even_if_nothing_tells_it_from_before(tmp_path, monkeypatch):
    (tmp_path / "sidecar.json").write_text('{"concurrency": {"limit": 4}}')
    file = TunablesFile(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        file.load()
    assert "Input/output error" in file.error
    file.load()
    assert (file.error, file.current.concurrency.limit) == ("", 4)


async def test_tunables_that_cannot_be_put_in_force_leave_those_from_before(start, tmp_path, until, monkeypatch):
    monkeypatch.setattr("modelpress.sidecar.reload.PERIOD", 0.01)
    sidecar = await start({"concurrency": {"limit": 3}})
    configure = sidecar.pipeline.limiter.configure

    def failing(rules, *, now):
        if rules.limit == 9:
            raise OverflowError("too large")
        configure(rules, now=now)

    monkeypatch.setattr(sidecar.pipeline.limiter, "configure", failing)
    (tmp_path / "sidecar.json").write_text('{"concurrency": {"limit": 9}}')
    await until(lambda: "too large" in sidecar.file.error)
    assert (sidecar.pipeline.tunables.concurrency.limit, sidecar.pipeline.limiter.limit) == (3, 3)


def test_a_host_that_is_none_is_told_by_its_option():
    with pytest.raises(Invalid, match="--host: 'bogus"):
        listen("bogus.invalid", 0, field="--grpc-port")


async def test_a_web_socket_is_closed_without_an_error(sidecar, http, caplog):
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await http.ws_connect(f"http://127.0.0.1:{sidecar.rest.port}/v1/models/m")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_version_of_thousands_of_digits_is_another_version(sidecar, http, outcomes):
    url = f"http://127.0.0.1:{sidecar.rest.port}/v1/models/m/versions/{'1' * 5000}:predict"
    async with http.post(url, data=b'{"instances": [1]}') as response:
        assert response.status == 200  # of the stub, which takes any
    assert outcomes(sidecar, "rest")["bypassed"] == {"OtherVersion": 1}


async def test_a_fault_of_ours_is_told_and_counted(sidecar, http, calling, a_request, outcomes, monkeypatch, caplog):
    monkeypatch.setattr(sidecar.pipeline, "begin", lambda question, counts: 1 / 0)
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await calling(sidecar)(a_request(1))
    assert (told.value.code(), told.value.details()) == (grpc.StatusCode.INTERNAL, "Internal error of the sidecar")
    async with http.post(f"http://127.0.0.1:{sidecar.rest.port}/v1/models/m:predict", data=b"{}") as response:
        assert response.status == 500
    for protocol in ("grpc", "rest"):
        assert outcomes(sidecar, protocol) == {"requests": 1, "refused": {"Internal": 1}}
    assert "ZeroDivisionError" in caplog.text


async def test_requests_are_the_sum_of_all_outcomes(start, calling, a_request, http, until, upstream):
    sidecar = await start({"concurrency": {"limit": 1, "queueDepth": 1}})
    call, url = calling(sidecar), f"http://127.0.0.1:{sidecar.rest.port}/v1/models/m"
    upstream.gate.clear()
    calls = [asyncio.ensure_future(call(a_request(number % 4))) for number in range(9)]
    await until(lambda: sidecar.pipeline.measures.grpc.requests == 9)
    upstream.gate.set()
    await asyncio.gather(*calls, call(b"bad"), call(b"", method="/a.B/c"), return_exceptions=True)
    for body in (b'{"instances": [1]}', b'{"instances": [1]}', b"{"):
        async with http.post(f"{url}:predict", data=body) as response:
            await response.read()
    measures = sidecar.pipeline.measures
    await until(lambda: not measures.active)
    assert (measures.grpc.requests, measures.rest.requests) == (11, 3)
    assert (measures.grpc.outcomes, measures.rest.outcomes) == (11, 3)
