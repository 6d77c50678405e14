"""The thin client, against a real API server."""

from __future__ import annotations

import pytest

from modelpress.kube import client
from modelpress.kube.client import ApiError


def config_map(namespace, name="words", **data):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


async def test_applied_objects_are_read_listed_and_deleted(cluster, namespace):
    live = await cluster.apply(config_map(namespace, greeting="hello"))
    assert (await cluster.get("ConfigMap", namespace, "words"))["data"] == {"greeting": "hello"}
    assert "words" in [found["metadata"]["name"] for found in await cluster.list("ConfigMap", namespace)]
    await cluster.delete(live)
    assert await cluster.get("ConfigMap", namespace, "words") is None
    await cluster.delete(live)


async def test_what_is_no_longer_sent_goes(cluster, namespace):
    await cluster.apply(config_map(namespace, greeting="hello", farewell="bye"))
    live = await cluster.apply(config_map(namespace, greeting="hello"))
    assert live["data"] == {"greeting": "hello"}


async def test_a_refusal_says_that_trying_again_cannot_help(cluster, namespace):
    with pytest.raises(ApiError) as refused:
        await cluster.apply(config_map(namespace, name="Not_A_Name"))
    assert refused.value.status == 422
    assert refused.value.is_final
    assert "metadata.name" in str(refused.value)


async def test_an_identity_does_only_what_it_may(service_account, namespace, audit):
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    reader = await service_account(rules)
    async with client.connect(str(reader.kubeconfig)) as limited:
        await limited.list("ConfigMap", namespace)
        with pytest.raises(ApiError) as refused:
            await limited.get("ConfigMap", namespace, "words")
    assert refused.value.status == 403
    assert [str(request) for request in audit.requests_by(reader.user)] == ["list configmaps", "get configmaps !403"]


def test_kubectl_and_helm_speak_to_the_same_server(kubectl, helm):
    assert "default" in kubectl("get", "namespaces", "-o", "name")
    assert helm("list").startswith("NAME")
