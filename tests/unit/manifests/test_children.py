"""Everything beside the pods: scaling, access, tunables, the store and the frame of every object."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from modelpress.api.resource import CompressedModel
from modelpress.manifests import access, children, names, scaling, sidecar_config, store
from modelpress.manifests.installation import Installation
from modelpress.manifests.served import Served

Make = Callable[..., CompressedModel]


@pytest.mark.parametrize(("replicas", "expected"), [(0, None), (1, None), (2, 1), (50, 1)])
def test_a_budget_exists_only_where_a_pod_can_be_spared(replicas: int, expected: int | None, a_model: Make) -> None:
    budget = scaling.disruption_budget(a_model(serving={"replicas": replicas}))
    assert (budget and budget["spec"]["maxUnavailable"]) == expected


def test_an_autoscaled_model_gets_a_budget_for_its_busy_hours(a_model: Make) -> None:
    spec: dict[str, Any] = {
        "autoscaling": {"maxReplicas": 5},
        "serving": {"podDisruptionBudget": {"maxUnavailable": "20%"}},
    }
    budget = scaling.disruption_budget(a_model(**spec))
    assert budget is not None and budget["spec"]["maxUnavailable"] == "20%"
    assert scaling.disruption_budget(a_model(autoscaling={"maxReplicas": 1})) is None


def test_the_autoscaler_looks_at_the_servers_cpu_only(a_model: Make) -> None:
    scaler = scaling.autoscaler(
        a_model(autoscaling={"minReplicas": 2, "maxReplicas": 9, "targetUtilization": 60, "scaleDownDelay": "90s"})
    )
    assert scaler is not None
    spec = scaler["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "bert"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    metric = spec["metrics"][0]["containerResource"]
    assert (metric["container"], metric["name"]) == ("tensorflow-serving", "cpu")
    assert metric["target"] == {"type": "Utilization", "averageUtilization": 60}
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 90


@pytest.mark.parametrize("spec", [
    {},
    {"autoscaling": {"maxReplicas": 3}, "serving": {"replicas": 0}},
    {"autoscaling": {"maxReplicas": 3, "provider": "KEDA"}},
    {"autoscaling": {"maxReplicas": 3, "metric": "Concurrency"}},
])  # fmt: skip
def test_no_autoscaler_where_none_is_wanted(spec: dict[str, Any], a_model: Make) -> None:
    assert scaling.autoscaler(a_model(**spec)) is None


def test_our_account_has_no_token_and_is_left_out_where_the_user_names_others(a_model: Make) -> None:
    account = access.service_account(a_model())
    assert account is not None
    assert account["metadata"]["name"] == "bert-modelpress"
    assert account["automountServiceAccountToken"] is False
    own = {"pod": {"serviceAccountName": "models"}}
    assert access.service_account(a_model(jobs=own)) is not None
    assert access.service_account(a_model(jobs=own, serving=own)) is None


def test_the_server_behind_the_sidecar_is_closed_to_the_network(a_model: Make, installation: Installation) -> None:
    policy = access.network_policy(a_model(), installation)
    assert policy is not None
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == [8500, 8501, 9090]
    assert access.network_policy(a_model(serving={"networkPolicy": "None"}), installation) is None


def test_only_the_operator_and_those_who_scrape_reach_the_port_that_drains(
    a_model: Make, installation: Installation
) -> None:
    policy = access.network_policy(a_model(), installation._replace(namespace="ops"))
    assert policy is not None
    to_everyone, to_some = policy["spec"]["ingress"]
    assert "from" not in to_everyone
    assert [port["port"] for port in to_some["ports"]] == [9090]
    assert [one["namespaceSelector"]["matchLabels"] for one in to_some["from"]] == [
        {"kubernetes.io/metadata.name": "ops"},
        {"modelpress.dev/metrics": "true"},
    ]
    assert all(set(one) == {"namespaceSelector"} for one in to_some["from"])


def test_tunables_lie_in_a_config_map(a_model: Make) -> None:
    config = sidecar_config.sidecar_config(a_model(concurrency={"limit": 7}))
    assert config["metadata"]["name"] == "bert-sidecar"
    tunables = json.loads(config["data"]["sidecar.json"])
    assert tunables["concurrency"]["limit"] == 7
    assert tunables["cache"]["mode"] == "Auto"


def test_the_store_is_the_models_then_the_installations_then_a_claim(a_model: Make, installation: Installation) -> None:
    shared = installation._replace(default_store="pvc://shared/x")
    assert store.uri(a_model(artifacts={"uri": "s3://mine/"}), shared) == "s3://mine/"
    assert store.uri(a_model(), shared) == "pvc://shared/x"
    assert store.uri(a_model(artifacts={"volume": {}}), shared) == "pvc://bert-artifacts/"
    assert store.uri(a_model(), installation) == "pvc://bert-artifacts/"


@pytest.mark.parametrize("spec", [
    {"serving": {"replicas": 2}},
    {"autoscaling": {"minReplicas": 1, "maxReplicas": 2}},
    {"artifacts": {"volume": {}}, "serving": {"replicas": 2}},
])  # fmt: skip
def test_several_pods_are_refused_on_a_volume_that_one_node_mounts(
    spec: dict[str, Any], a_model: Make, installation: Installation
) -> None:
    (problem,) = scaling.refusals(a_model(**spec), installation)
    assert problem.field == "spec.artifacts"
    assert "artifacts.uri" in problem.message and "ReadWriteMany" in problem.message


@pytest.mark.parametrize("spec", [
    {},
    {"serving": {"replicas": 0}, "autoscaling": {"maxReplicas": 9}},
    {"serving": {"replicas": 2}, "artifacts": {"uri": "pvc://models/artifacts"}},
    {"serving": {"replicas": 2}, "artifacts": {"volume": {"accessMode": "ReadWriteMany"}}},
])  # fmt: skip
def test_one_pod_or_a_shared_store_is_not_refused(
    spec: dict[str, Any], a_model: Make, installation: Installation
) -> None:
    assert scaling.refusals(a_model(**spec), installation) == ()


def test_an_installations_store_takes_several_pods(a_model: Make, installation: Installation) -> None:
    shared = installation._replace(default_store="pvc://shared/x")
    assert scaling.refusals(a_model(serving={"replicas": 2}), shared) == ()


def test_a_claim_exists_only_where_it_is_the_store(a_model: Make, installation: Installation) -> None:
    volume = {"size": "5Gi", "storageClassName": "fast", "accessMode": "ReadWriteMany"}
    claim = store.volume_claim(a_model(artifacts={"volume": volume}), installation)
    assert claim is not None
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "5Gi"}},
    }
    default = store.volume_claim(a_model(), installation)
    assert default is not None and default["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert store.volume_claim(a_model(artifacts={"uri": "pvc://x/"}), installation) is None


@pytest.mark.parametrize("make", [names.sidecar_config, names.artifacts_claim, names.service_account])
def test_names_fit_with_the_longest_model_name(make: Callable[[CompressedModel], str], a_model: Make) -> None:
    longest = a_model().model_copy(update={"metadata": a_model().metadata.model_copy(update={"name": "m" * 40})})
    assert len(make(longest)) <= 63
    assert len(names.evaluate_job(longest, "0" * 64)) <= 63


def test_every_child_says_whose_it_is(
    a_model: Make, a_servable: Callable[..., Served], installation: Installation
) -> None:
    model = a_model(
        autoscaling={"maxReplicas": 3},
        commonMetadata={"labels": {"team": "nlp"}, "annotations": {"owner": "nlp"}},
    )
    made = [
        *children.foundations(model, installation),
        *children.servers(model, a_servable(), installation, replicas=None),
    ]
    assert sorted(one["kind"] for one in made) == [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ]
    for one in made:
        labels = one["metadata"]["labels"]
        assert labels["modelpress.dev/compressedmodel"] == labels["app.kubernetes.io/instance"] == "bert"
        assert labels["app.kubernetes.io/managed-by"] == "modelpress"
        assert labels["team"] == "nlp"
        assert one["metadata"]["annotations"]["owner"] == "nlp"
        assert one["metadata"]["namespace"] == "nlp"
        assert one["metadata"]["ownerReferences"][0]["controller"] is True
        assert "blockOwnerDeletion" not in one["metadata"]["ownerReferences"][0]


def test_annotations_are_not_sent_empty(a_model: Make, installation: Installation) -> None:
    assert all("annotations" not in one["metadata"] for one in children.foundations(a_model(), installation))


def test_a_servers_gpu_variant_follows_its_limits(a_model: Make, installation: Installation) -> None:
    gpu = a_model(serving={"resources": {"limits": {"nvidia.com/gpu": 1}}}).spec.serving.resources
    assert installation.server(gpu) == "tensorflow/serving:2.20.0-gpu"
    pinned = installation._replace(server_image="r/s@sha256:" + "0" * 64)
    assert pinned.server(gpu) == pinned.server_image
