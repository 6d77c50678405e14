"""The testbed itself: the Job and Deployment controllers believe the kubelet that we play."""

from __future__ import annotations

import pytest
from testbed.kubelet import until

LABELS = {"app": "words"}
CONTAINER = {"name": "main", "image": "words:1"}


@pytest.fixture
async def job(cluster, namespace):
    template = {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}
    metadata = {"name": "words", "namespace": namespace}
    spec = {"backoffLimit": 0, "template": template}
    return await cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})


def has_condition(cluster, namespace, kind, condition):
    async def look():
        live = await cluster.get(kind, namespace, "words")
        found = live.get("status", {}).get("conditions") or ()
        return [one for one in found if one["type"] == condition and one["status"] == "True"]

    return until(look, f"{kind} is {condition}")


async def test_a_pod_that_succeeds_completes_its_job_and_keeps_its_message(job, kubelet, cluster, namespace):
    await kubelet.finish("words", message='{"outcome": "Done"}')
    await has_condition(cluster, namespace, "Job", "Complete")
    (pod,) = await kubelet.pods("words")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == '{"outcome": "Done"}'


async def test_a_pod_that_fails_fails_its_job(job, kubelet, cluster, namespace):
    await kubelet.start("words")
    await kubelet.finish("words", message="oh", exit_code=64)
    await has_condition(cluster, namespace, "Job", "Failed")


@pytest.fixture
async def deployment(cluster, namespace):
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}
    metadata = {"name": "words", "namespace": namespace}
    spec = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": template}
    return await cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})


async def test_ready_pods_make_a_deployment_available(deployment, kubelet, cluster, namespace):
    live = await kubelet.make_ready("words")
    assert live["status"]["availableReplicas"] == 2
    await kubelet.make_unready("words")

    async def unavailable():
        live = await cluster.get("Deployment", namespace, "words")
        return live["status"].get("unavailableReplicas") == 2

    await until(unavailable, "the Deployment is unavailable")


async def test_a_new_template_rolls_out(deployment, kubelet, cluster):
    await kubelet.make_ready("words")
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "words:2"
    metadata = {part: deployment["metadata"][part] for part in ("name", "namespace")}
    await cluster.merge({"kind": "Deployment", "metadata": metadata, "spec": deployment["spec"]})
    await kubelet.make_ready("words")
    assert {pod["spec"]["containers"][0]["image"] for pod in await kubelet.pods("words")} == {"words:2"}


async def test_a_pod_can_wait_for_its_image(deployment, kubelet):
    async def both():
        return len(await kubelet.pods("words")) == 2

    await until(both, "both pods are there")
    await kubelet.fail_waiting("words", reason="ImagePullBackOff", message="not found")
    states = [pod["status"]["containerStatuses"][0]["state"] for pod in await kubelet.pods("words")]
    assert {state["waiting"]["reason"] for state in states} == {"ImagePullBackOff"}
