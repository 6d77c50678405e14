"""`kubectl modelpress cache` through the pod proxy of a real API server."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from aiohttp import web
from typer.testing import CliRunner

from modelpress import cli
from modelpress.kube.kinds import MODEL_LABEL

STATE = {
    "artifactDigest": "sha256:" + "0" * 64,
    "cache": {
        "effectiveMode": "Enabled",
        "effectivePolicy": "LRU",
        "hitRatio": 0.5,
        "entries": 2,
        "bytes": 1200,
        "limitBytes": 2**20,
        "tiers": {},
        "prefetch": {},
        "effective": {"status": "True", "reason": "Effective", "message": ""},
    },
    "requests": {"grpc": {"requests": 4, "hits": 2, "misses": 2, "coalesced": 0, "bypassed": {}, "refused": {}}},
}


def own_address() -> str:
    """An address of this machine that is not loopback, which the API server refuses to be a proxy for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])


@pytest.fixture
async def administration():
    """What a pod's administration port would answer, and the queries of its purges."""
    purges: list[str] = []

    async def purge(request: web.Request) -> web.Response:
        purges.append(request.query_string)
        return web.json_response({"purged": {"memory": 2, "redis": 5}})

    async def state(_: web.Request) -> web.Response:
        return web.json_response(STATE)

    application = web.Application()
    application.router.add_get("/state", state)
    application.router.add_post("/purge", purge)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, own_address(), 0).start()
    yield runner.addresses[0][1], purges
    await runner.cleanup()


@pytest.fixture
async def pod(cluster, namespace, administration):
    """A running pod of the model bert, whose sidecar is `administration`."""
    port, _ = administration
    container = {"name": "sidecar", "image": "none", "ports": [{"name": "admin", "containerPort": port}]}
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bert-1", "namespace": namespace, "labels": {MODEL_LABEL: "bert"}},
        "spec": {"containers": [container]},
    }
    live = await cluster.apply(manifest)
    status = {"phase": "Running", "podIP": own_address(), "podIPs": [{"ip": own_address()}]}
    await cluster.merge({**manifest, "spec": None, "status": status}, subresource="/status")
    yield live
    await cluster.delete(live, grace_seconds=0)


async def run(control_plane, namespace, *arguments):
    options = ["--namespace", namespace, "--kubeconfig", str(control_plane.kubeconfig()), "--output", "json"]
    return await asyncio.to_thread(CliRunner().invoke, cli.app, ["cache", *arguments, *options])


async def test_stats_come_from_every_pod(control_plane, namespace, pod):
    done = await run(control_plane, namespace, "stats", "bert")
    found = json.loads(done.stdout)
    assert found["errors"] == {}
    assert found["pods"]["bert-1"]["hitRatio"] == 0.5


async def test_purges_reach_every_pod(control_plane, namespace, pod, administration):
    digest = "sha256:" + "1" * 64
    done = await run(control_plane, namespace, "purge", "bert", "--digest", digest)
    assert json.loads(done.stdout)["pods"] == {"bert-1": {"memory": 2, "redis": 5}}
    _, purges = administration
    assert [query.replace("%3A", ":") for query in purges] == [f"digest={digest}"]


async def test_a_model_without_pods_is_told(control_plane, namespace):
    done = await run(control_plane, namespace, "stats", "bert")
    assert f"no pod serves bert in namespace {namespace}" in str(done.exception)
