"""The story of examples/fashion-mnist, told with the very bytes that its two Jobs write in this test run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from testbed import story
from testbed.story import World

sys.path.insert(0, str(Path(__file__).parents[1] / "engine" / "examples"))

from example_jobs import fashion_mnist_jobs

__all__ = ["fashion_mnist_jobs"]

pytestmark = pytest.mark.xdist_group("examples")


@pytest.fixture(scope="module")
def operator(control_plane, kubectl, crd, tmp_path_factory):
    with story.operator(control_plane, kubectl, tmp_path_factory.mktemp("operator")) as running:
        yield running


async def test_what_the_jobs_of_an_example_wrote_is_judged_and_served(
    cluster, namespace, kubelet, operator, fashion_mnist_jobs
):
    world = World(cluster, namespace, kubelet, "fashion-mnist")
    await world.apply(fashion_mnist_jobs.spec)
    await world.serve(fashion_mnist_jobs.messages)

    assert {name.partition("/")[0] for name in await world.children()} >= {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }
    measured = fashion_mnist_jobs.evaluate.measured
    current = (await world.status())["current"]
    assert current["digest"] == fashion_mnist_jobs.evaluate.candidate_digest
    assert current["metrics"][0]["drop"] == pytest.approx(measured.metrics[0].drop, abs=1e-4)
    assert current["sizeBytes"]["ratio"] == pytest.approx(measured.size_bytes.ratio, rel=1e-3)


async def test_the_same_bytes_under_a_stricter_gate_serve_nothing_and_say_by_how_much(
    cluster, namespace, kubelet, operator, fashion_mnist_jobs
):
    world = World(cluster, namespace, kubelet, "fashion-mnist")
    gate = {**fashion_mnist_jobs.spec["gate"], "size": {"maxRatio": 0.01}}
    await world.apply({**fashion_mnist_jobs.spec, "gate": gate})
    await world.finish("compress", fashion_mnist_jobs.messages["compress"])
    await world.finish("evaluate", fashion_mnist_jobs.messages["evaluate-1"])

    stalled = await world.until("Stalled", "True", "GateFailed")
    ratio = fashion_mnist_jobs.evaluate.measured.size_bytes.ratio
    assert f"Size is {ratio:.4f}"[:12] in stalled["message"]
    assert "0.01 x is allowed" in stalled["message"]
    assert await world.get("Deployment") is None
