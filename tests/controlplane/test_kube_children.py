"""Children are written only where they differ, repaired where others changed them, and never taken from others."""

from __future__ import annotations

import copy

import pytest
from testbed.kubelet import until

from modelpress.kube import kinds, rbac
from modelpress.kube.cache import Cache
from modelpress.kube.children import Children, NameTaken
from modelpress.kube.client import MANAGER, Cluster, connect

LABELS = {kinds.MANAGED_BY_LABEL: kinds.MANAGED_BY, kinds.MODEL_LABEL: "bert"}
POD_TEMPLATE = {
    "metadata": {"labels": LABELS},
    "spec": {
        "containers": [
            {
                "name": "server",
                "image": "tensorflow/serving:2.20.0",
                "args": ["--port=0"],
                "env": [{"name": "A", "value": "1"}],
                "ports": [{"name": "grpc", "containerPort": 8500}],
                "resources": {"limits": {"memory": "2Gi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "models", "mountPath": "/models"}],
            }
        ],
        "volumes": [{"name": "models", "emptyDir": {}}],
    },
}
SPECS = {
    "Deployment": {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": POD_TEMPLATE},
    "Service": {"selector": LABELS, "ports": [{"name": "grpc", "port": 8500, "protocol": "TCP", "targetPort": 8500}]},
    "PodDisruptionBudget": {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}},
    "HorizontalPodAutoscaler": {
        "minReplicas": 1,
        "maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "bert"},
    },
    "Job": {
        "backoffLimit": 2,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "compress", "image": "compressor"}]}},
    },
    "PersistentVolumeClaim": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    "NetworkPolicy": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 8500}]}]},
}


@pytest.fixture
async def owner(model):
    return await model("bert")


@pytest.fixture
async def account(service_account):
    return await service_account(rbac.rules())


@pytest.fixture
async def ours(account):
    """Our client under the operator's own rights and field manager."""
    async with connect(str(account.kubeconfig)) as cluster:
        yield cluster


@pytest.fixture
def cache():
    return Cache()


@pytest.fixture
def children(ours: Cluster, cache):
    return Children(ours, cache)


def child(owner, kind, name="bert", **more):
    body = {"spec": copy.deepcopy(SPECS[kind])} if kind in SPECS else {}
    return {
        "apiVersion": kinds.named(kind).api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "labels": LABELS,
            "ownerReferences": [
                {
                    "apiVersion": owner["apiVersion"],
                    "kind": owner["kind"],
                    "name": owner["metadata"]["name"],
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        **body,
        **more,
    }


KINDS = [
    *((kind, {}) for kind in SPECS),
    ("ConfigMap", {"data": {"sidecar.json": "{}"}}),
    ("ServiceAccount", {"automountServiceAccountToken": False}),
]


@pytest.mark.parametrize(("kind", "more"), KINDS, ids=[kind for kind, _ in KINDS])
async def test_an_unchanged_child_costs_no_request(children, owner, account, audit, kind, more):
    wanted = child(owner, kind, **more)
    await children.ensure(wanted)
    mark = audit.here()
    live = await children.ensure(copy.deepcopy(wanted))
    assert live["metadata"]["name"] == "bert"
    assert audit.requests_by(account.user, mark) == []


DRIFTS = {
    "an image": ("Deployment", {"spec": {"template": {"spec": {"containers": [{"name": "server", "image": "evil"}]}}}}),
    "replicas": ("Deployment", {"spec": {"replicas": 5}}),
    "a label": ("Service", {"metadata": {"labels": {kinds.MODEL_LABEL: "other"}}}),
    "the owner": ("Service", {"metadata": {"ownerReferences": None}}),
    "a target port": (
        "Service",
        {"spec": {"ports": [{"name": "grpc", "port": 8500, "protocol": "TCP", "targetPort": 1}]}},
    ),
    "a bound": ("HorizontalPodAutoscaler", {"spec": {"maxReplicas": 50}}),
    "a budget": ("PodDisruptionBudget", {"spec": {"maxUnavailable": 3}}),
    "the policy": ("NetworkPolicy", {"spec": {"ingress": [{}]}}),
    "all ownership": ("Service", {"metadata": {"managedFields": [{}]}}),
}


@pytest.mark.parametrize("drift", DRIFTS)
async def test_what_others_change_of_ours_is_noticed_and_repaired(children, cache, cluster, owner, drift):
    kind, change = DRIFTS[drift]
    wanted = child(owner, kind)
    await children.ensure(wanted)
    merged = {"kind": kind, "metadata": wanted["metadata"] | change.get("metadata", {})} | {
        part: value for part, value in change.items() if part != "metadata"
    }
    cache.put(await cluster.merge(merged))
    assert not children.is_current(wanted)
    cache.put(await children.ensure(wanted))
    assert children.is_current(wanted)


async def test_what_others_add_is_not_drift(children, cache, cluster, owner):
    wanted = child(owner, "Deployment")
    await children.ensure(wanted)
    note = {"kind": "Deployment", "metadata": {**wanted["metadata"], "annotations": {"somebody/note": "hello"}}}
    cache.put(await cluster.merge({**note, "metadata": {**note["metadata"]}}))
    assert children.is_current(wanted)


EDITED_BEYOND_APPLY = {
    "the key of a list item": (
        "Service",
        {"spec": {"ports": [{"name": "grpc", "port": 9999, "protocol": "TCP", "targetPort": 8500}]}},
    ),
    "the type of a volume": (
        "Deployment",
        {"spec": {"template": {"spec": {"volumes": [{"name": "models", "hostPath": {"path": "/"}}]}}}},
    ),
}


@pytest.mark.parametrize("edit", EDITED_BEYOND_APPLY)
async def test_an_edit_that_an_apply_cannot_repair_is_repaired(children, cache, cluster, owner, edit):
    kind, change = EDITED_BEYOND_APPLY[edit]
    wanted = child(owner, kind)
    await children.ensure(wanted)
    cache.put(await cluster.merge({"kind": kind, "metadata": wanted["metadata"], **change}))
    live = await children.ensure(wanted)
    assert children.is_current(wanted)
    if kind == "Service":
        assert [port["port"] for port in live["spec"]["ports"]] == [8500]
    else:
        assert live["spec"]["template"]["spec"]["volumes"] == [{"name": "models", "emptyDir": {}}]


async def test_somebody_elses_object_is_never_taken_over(children, cluster, owner, namespace):
    theirs = {"name": "bert", "namespace": namespace, "labels": {kinds.MANAGED_BY_LABEL: "Helm"}}
    await cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": theirs})
    with pytest.raises(NameTaken, match="ServiceAccount bert exists and belongs to Helm"):
        await children.ensure(child(owner, "ServiceAccount"))
    assert MANAGER not in str((await cluster.get("ServiceAccount", namespace, "bert"))["metadata"]["managedFields"])


async def test_a_child_that_the_watch_has_not_shown_yet_is_recognised(ours, owner):
    wanted = child(owner, "Service")
    await Children(ours, Cache()).ensure(wanted)
    live = await Children(ours, Cache()).ensure(wanted)
    assert live["metadata"]["name"] == "bert"


async def test_children_of_a_model_made_anew_are_adopted(children, cluster, owner, model, namespace):
    """Deleted with --cascade=orphan, or made anew faster than the garbage collector works."""
    await children.ensure(child(owner, "ConfigMap", data={"a": "1"}))
    path = kinds.MODEL.path(namespace, "bert")
    await cluster.request("DELETE", path, {"propagationPolicy": "Orphan"})

    async def gone():
        return await cluster.get("CompressedModel", namespace, "bert") is None

    await until(gone, "the model is gone")
    again = await model("bert")
    live = await children.ensure(child(again, "ConfigMap", data={"a": "1"}))
    assert [reference["uid"] for reference in live["metadata"]["ownerReferences"]] == [again["metadata"]["uid"]]


async def test_children_that_are_no_longer_wanted_go(children, cache, cluster, owner, namespace):
    kept, dropped = child(owner, "Service"), child(owner, "PodDisruptionBudget")
    for wanted in (kept, dropped):
        await children.ensure(wanted)
    await children.prune(owner["metadata"]["uid"], keep=[kept])
    assert await cluster.get("Service", namespace, "bert")
    assert await cluster.get("PodDisruptionBudget", namespace, "bert") is None
