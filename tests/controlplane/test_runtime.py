"""Watches, cache, queue and workers together, with a reconciler that only writes down what it was asked."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from testbed import network
from testbed.controlplane import OPERATOR
from testbed.kubelet import until

from modelpress.api import crd as definition
from modelpress.handlers import process
from modelpress.kube import kinds, rbac, resync, rights
from modelpress.kube.children import Children
from modelpress.reconcile.controller import Done

IDLE_SECONDS = 5


class Running:
    """An operator in this process; `seen` is what its reconciler was asked, `world` what it works with."""

    def __init__(self):
        self.seen: list[str] = []
        self.world: process.World | None = None
        self.task: asyncio.Task[None] | None = None

    def make_reconcile(self, world):
        self.world = world

        async def reconcile(key, now):
            self.seen.append(key.name)
            live = world.cache.seen(*key)
            if live and not live["metadata"].get("deletionTimestamp"):
                await Children(world.cluster, world.cache).ensure(words_of(live))
            return Done()

        return reconcile

    def has(self, kind, namespace, name):
        async def look():
            assert not self.task.done(), self.task.exception()
            return self.world is not None and self.world.cache.seen(kind, namespace, name)

        return until(look, f"the operator has seen {kind} {name}")

    def has_not(self, kind, namespace, name):
        async def look():
            return self.world.cache.seen(kind, namespace, name) is None

        return until(look, f"the operator has forgotten {kind} {name}")


def words_of(live):
    metadata = live["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{metadata['name']}-words",
            "namespace": metadata["namespace"],
            "labels": {kinds.MANAGED_BY_LABEL: kinds.MANAGED_BY, kinds.MODEL_LABEL: metadata["name"]},
            "ownerReferences": [
                {
                    "apiVersion": live["apiVersion"],
                    "kind": live["kind"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                }
            ],
        },
        "data": {"uri": live["spec"]["source"]["uri"]},
    }


@pytest.fixture
def operator(namespace, monkeypatch, crd):
    """`async with operator(kubeconfig) as running:` runs the operator for this test's namespace."""

    @contextlib.asynccontextmanager
    async def run(kubeconfig):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        options = process.Options((namespace,), lease_namespace=namespace, metrics_port=0, health_port=0)
        running = Running()
        running.task = asyncio.create_task(process.run(options, running.make_reconcile))
        try:
            yield running
        finally:
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)

    return run


@pytest.fixture
async def account(service_account):
    """The operator's ServiceAccount with its real rights, in one namespace."""
    return await service_account(rbac.rules() + rbac.lease_rules())


async def test_a_deleted_child_is_repaired_under_the_real_rights(operator, account, model, cluster, namespace):
    async with operator(account.kubeconfig) as running:
        await model("bert")
        words = await running.has("ConfigMap", namespace, "bert-words")
        await cluster.delete(words)

        async def back():
            live = await cluster.get("ConfigMap", namespace, "bert-words")
            return live and live["metadata"]["uid"] != words["metadata"]["uid"]

        await until(back, "the deleted child is back")


async def test_children_are_known_before_the_first_reconcile(operator, account, model, audit, namespace):
    """A restart writes nothing: kopf holds the handlers back until every kind has been listed."""
    async with operator(account.kubeconfig) as running:
        await model("bert")
        await running.has("ConfigMap", namespace, "bert-words")
    mark = audit.here()
    async with operator(account.kubeconfig) as running:

        async def reconciled():
            return running.seen

        await until(reconciled, "bert was reconciled")
    asked = {str(request) for request in audit.requests_by(account.user, mark)}
    assert {request for request in asked if request.startswith(("patch", "delete", "update"))} == set()


async def test_an_idle_operator_asks_nothing(operator, account, model, audit, namespace):
    async with operator(account.kubeconfig) as running:
        await model("bert")
        await running.has("ConfigMap", namespace, "bert-words")
        await settled(running)
        mark = audit.here()
        await asyncio.sleep(IDLE_SECONDS)
        assert audit.requests_by(account.user, mark) == []


async def test_our_own_status_writes_wake_nobody(operator, account, model, cluster, namespace):
    async with operator(account.kubeconfig) as running:
        await model("bert")
        await running.has("ConfigMap", namespace, "bert-words")
        await settled(running)
        before = len(running.seen)
        status = {"replicas": 1, "observedGeneration": 1}
        metadata = {"name": "bert", "namespace": namespace}
        await cluster.apply_status(
            {"apiVersion": kinds.MODEL.api_version, "kind": kinds.MODEL.kind, "metadata": metadata, "status": status}
        )

        async def echoed():
            return running.world.cache.seen("CompressedModel", namespace, "bert").get("status", {}).get("replicas")

        await until(echoed, "the status came back through the watch")
        assert len(running.seen) == before


async def test_a_cut_network_loses_nothing(operator, model, cluster, namespace, control_plane):
    async with (
        network.between(control_plane.port) as wire,
        operator(control_plane.kubeconfig(OPERATOR, server=wire.url)) as running,
    ):
        await model("bert")
        words = await running.has("ConfigMap", namespace, "bert-words")
        wire.cut()
        await cluster.delete(words)
        await model("resnet50")
        wire.restore()
        again = await running.has("ConfigMap", namespace, "resnet50-words")
        assert again["data"]["uri"] == "pvc://models/resnet50"

        async def back():
            return await cluster.get("ConfigMap", namespace, "bert-words")

        await until(back, "the child deleted meanwhile is back")


async def test_deletions_that_a_watch_concealed_are_found(operator, account, model, namespace):
    async with operator(account.kubeconfig) as running:
        await model("bert")
        words = await running.has("ConfigMap", namespace, "bert-words")
        ghost = {**words, "metadata": {**words["metadata"], "name": "ghost", "uid": "00000000", "resourceVersion": "1"}}
        cache, here = running.world.cache, running.world.cluster
        cache.put(ghost)
        gone = await resync.find_gone(here, cache, [namespace])
        assert [live["metadata"]["name"] for live in gone] == ["ghost"]
        assert cache.seen("ConfigMap", namespace, "ghost") is None
        assert cache.seen("ConfigMap", namespace, "bert-words")


async def test_a_deleted_model_is_forgotten(operator, account, model, cluster, namespace):
    async with operator(account.kubeconfig) as running:
        live = await model("bert")
        await running.has("ConfigMap", namespace, "bert-words")
        await cluster.delete(live)
        await running.has_not("CompressedModel", namespace, "bert")
        await running.has_not("ConfigMap", namespace, "bert-words")


@pytest.mark.parametrize(
    "missing", [("", "pods", "watch"), ("modelpress.dev", "compressedmodels/status", "patch")], ids=str
)
async def test_a_missing_right_ends_the_start_and_is_named(operator, service_account, missing):
    group, resource, verb = missing
    rules = [
        rule
        | {
            "resources": [plural],
            "verbs": [v for v in rule["verbs"] if (group, resource, verb) != (rule["apiGroups"][0], plural, v)],
        }
        for rule in rbac.rules() + rbac.lease_rules()
        for plural in rule["resources"]
    ]
    limited = await service_account([rule for rule in rules if rule["verbs"]])
    async with operator(limited.kubeconfig) as running:
        with pytest.raises(process.NotFit, match=f"{verb} {resource}"):
            await running.task


async def test_an_old_crd_ends_the_start_and_its_lack_is_named(crd, cluster):
    served = await rights.served_schema(cluster)
    assert rights.unknown_fields(definition.schema(), served) == []
    served["properties"]["spec"]["properties"].pop("cache")
    assert rights.unknown_fields(definition.schema(), served) == ["spec.cache"]


async def settled(running):
    """Until the operator has had nothing to do for a second."""

    async def quiet():
        before = len(running.seen)
        await asyncio.sleep(1)
        return len(running.seen) == before

    await until(quiet, "the operator is quiet")
