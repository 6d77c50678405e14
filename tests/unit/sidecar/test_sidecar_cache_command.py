"""`modelpress cache` at the administration port of a real sidecar."""

from __future__ import annotations

import asyncio
import json
import re

from typer.testing import CliRunner

from modelpress import cli
from modelpress.kube import sidecars

GONE = "127.0.0.1:1"


async def run(*arguments: str):
    return await asyncio.to_thread(CliRunner().invoke, cli.app, ["cache", *arguments])


async def test_stats_tell_the_hit_ratio(sidecar, calling, a_request):
    call = calling(sidecar)
    for number in (1, 1, 1, 2):
        await call(a_request(number))
    address = f"127.0.0.1:{sidecar.admin.port}"
    done = await run("stats", "--address", address, "--output", "json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    row = found["pods"][address]
    assert (row["hitRatio"], row["requests"], row["hits"], row["misses"], row["entries"]) == (0.5, 4, 2, 2, 2)
    assert found["total"]["hitRatioSinceStart"] == 0.5
    heading, line = (await run("stats", "--address", address)).stdout.splitlines()
    assert re.split(r" {2,}", heading.strip())[:3] == ["pod", "mode", "hit ratio"]
    assert line.split()[:1] == [address]
    assert "0.5" in line.split()


async def test_a_pod_is_one_line_in_a_narrow_terminal_too(sidecar, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    address = f"127.0.0.1:{sidecar.admin.port}"
    found = json.loads((await run("stats", "--address", address, "-o", "json")).stdout)["pods"][address]
    _, line = (await run("stats", "--address", address)).stdout.splitlines()
    assert line.split()[0] == address
    assert line.split()[-1] == found["effect"]


async def test_purge_empties_by_digest_or_altogether(sidecar, calling, a_request):
    call, address = calling(sidecar), f"127.0.0.1:{sidecar.admin.port}"
    await call(a_request(1))
    other = await run("purge", "--address", address, "--digest", "sha256:" + "9" * 64, "-o", "json")
    assert json.loads(other.stdout)["pods"] == {address: {"memory": 0}}
    assert json.loads((await run("purge", "--address", address, "-o", "json")).stdout)["pods"] == {
        address: {"memory": 1}
    }
    assert len(sidecar.pipeline.memory) == 0


async def test_who_does_not_answer_is_told_beside_those_who_do(sidecar):
    address = f"127.0.0.1:{sidecar.admin.port}"
    done = await run("stats", "--address", address, "--address", GONE, "--output", "json")
    assert done.exit_code == 1
    assert list(json.loads(done.stdout)["pods"]) == [address]
    assert list(json.loads(done.stdout)["errors"]) == [GONE]


async def test_a_refusal_is_told_in_the_sidecars_words(sidecar):
    done = await run("purge", "--address", f"127.0.0.1:{sidecar.admin.port}", "--digest", "latest")
    assert done.exit_code == 1
    assert "digest=latest: write sha256: and 64 hex digits" in done.stderr


async def test_a_model_or_an_address_is_needed():
    for arguments in (["stats"], ["stats", "bert", "--address", GONE]):
        done = await run(*arguments)
        assert "give the name of a model, or --address" in str(done.exception)


def test_pods_that_go_or_have_no_sidecar_are_not_asked():
    container = {"name": "sidecar", "ports": [{"name": "admin", "containerPort": 9090}]}
    pod = {
        "metadata": {"name": "p"},
        "spec": {"initContainers": [container], "containers": []},
        "status": {"phase": "Running"},
    }
    assert sidecars.admin_port(pod) == 9090
    assert sidecars.admin_port({**pod, "status": {"phase": "Pending"}}) is None
    assert sidecars.admin_port({**pod, "metadata": {"deletionTimestamp": "now"}}) is None
    assert sidecars.admin_port({**pod, "spec": {"containers": [{"name": "sidecar"}]}}) is None
