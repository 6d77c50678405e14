"""How the word of the sidecars on their cache comes into the status: read from the pods, not from the API server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from testbed import story
from testbed.fixtures import Audit, Kubectl
from testbed.kubelet import Kubelet, until
from testbed.story import Operator, World

from modelpress.kube.client import Cluster
from modelpress.manifests import serving

SPEC: dict[str, Any] = {
    "source": {"uri": "pvc://models/sentiment/"},
    "data": {"evaluation": {"uri": "pvc://data/val.npz"}},
    "recipe": {"steps": [{"quantize": {"scheme": "DynamicInt8"}}]},
    "gate": {"metrics": [{"type": "Accuracy", "maxDrop": 0.01}]},
}
"""With the default mode of the cache, Auto."""


class Sidecar:
    """What answers at the administration port of every pod."""

    def __init__(self, address: str) -> None:
        self.address, self.asked = address, 0
        self.effect = {"status": "True", "reason": "Effective", "message": "The cache pays: a hit ratio of 60.0%."}
        app = web.Application()
        app.router.add_get("/state", self._state)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self) -> None:
        """Answer from now on."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, serving.ADMIN).start()

    async def stop(self) -> None:
        """Refuse connections from now on."""
        await self._runner.cleanup()

    async def read_again(self, times: int) -> None:
        """Wait until somebody has asked so many times more."""
        goal = self.asked + times

        async def reached() -> bool:
            return self.asked >= goal

        await until(reached, f"the sidecar was read {times} times")

    async def _state(self, _: web.Request) -> web.Response:
        self.asked += 1
        cache = {"effective": self.effect, "hitRatio": secrets.randbelow(100) / 100}
        return web.json_response({"artifactDigest": story.digest("quantize DynamicInt8"), "cache": cache})


@pytest.fixture(scope="module")
def operator(
    control_plane: Any, kubectl: Kubectl, crd: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """Asks every second."""
    folder = tmp_path_factory.mktemp("operator")
    with story.operator(control_plane, kubectl, folder, *story.IMAGES, "--sidecar-period=1") as running:
        yield running


@pytest.fixture
async def sidecar(kubelet: Kubelet) -> AsyncIterator[Sidecar]:
    """At a loopback address of its own, which is that of all pods."""
    first, second, third = (1 + secrets.randbelow(254) for _ in range(3))
    kubelet.address = f"127.{first}.{second}.{third}"
    running = Sidecar(kubelet.address)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def world(cluster: Cluster, namespace: str, kubelet: Kubelet, operator: Operator, sidecar: Sidecar) -> World:
    return World(cluster, namespace, kubelet)


async def test_what_the_sidecars_measure_becomes_a_condition_and_no_more(
    world: World, sidecar: Sidecar, operator: Operator, audit: Audit
) -> None:
    await world.apply(SPEC)
    await world.serve({"compress": story.compressed(), "evaluate-1": story.evaluated()})
    assert (await world.until("CacheEffective", "True", "Effective"))["message"].endswith("60.0%.")

    mark = audit.here()
    await sidecar.read_again(4)
    asked = [one for one in audit.requests_by(operator.user, mark) if one.namespace == world.namespace]
    assert [str(one) for one in asked if one.verb != "watch"] == []

    told = "The cache does not pay: a hit ratio of 0.1%."
    sidecar.effect = {"status": "False", "reason": "CostsMoreThanItSaves", "message": told}
    assert (await world.until("CacheEffective", "False", "CostsMoreThanItSaves"))["message"] == told
    assert (await world.conditions())["Ready"]["status"] == "True"

    await sidecar.stop()
    await world.until("CacheEffective", "Unknown", "SidecarsUnreachable")
    assert (await world.conditions())["Ready"]["status"] == "True"


async def test_a_model_whose_cache_is_set_by_hand_is_not_asked(world: World, sidecar: Sidecar) -> None:
    await world.apply({**SPEC, "cache": {"mode": "Enabled"}})
    await world.serve({"compress": story.compressed(), "evaluate-1": story.evaluated()})
    await world.until("CacheEffective", "Unknown", "NotJudged")
    assert sidecar.asked == 0
    await world.apply({**SPEC, "cache": {"mode": "Auto"}})
    await world.until("CacheEffective", "True", "Effective")
