"""Every pod is Pod Security `restricted` and carries what the user adds for all pods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modelpress.api.request import Request
from modelpress.api.resource import CompressedModel
from modelpress.manifests import jobs, serving
from modelpress.manifests.installation import Installation
from modelpress.manifests.served import Served

Make = Callable[..., CompressedModel]
KINDS = ("compress", "evaluate", "server")


@pytest.fixture
def template_of(
    a_request: Callable[[CompressedModel], Request], a_servable: Callable[..., Served], installation: Installation
) -> Callable[[str, CompressedModel], dict[str, Any]]:
    """The pod template of one kind of pod."""

    def make(kind: str, model: CompressedModel) -> dict[str, Any]:
        request, served = a_request(model), a_servable(model)
        source = served._replace(servable="source", form="SavedModel")
        manifest = {
            "compress": lambda: jobs.compress(model, request, "0" * 64, installation),
            "evaluate": lambda: jobs.evaluate(
                model, request, "1" * 64, installation, source=source, candidate=served, index=1
            ),
            "server": lambda: serving.deployment(model, served, replicas=1),
        }[kind]()
        template: dict[str, Any] = manifest["spec"]["template"]
        return template

    return make


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]


@pytest.mark.parametrize("kind", KINDS)
def test_no_container_may_do_more_than_its_work(kind: str, a_model: Make, template_of: Any) -> None:
    template = template_of(kind, a_model())
    pod = template["spec"]["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == 65532
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert template["spec"]["automountServiceAccountToken"] is False
    for container in containers(template):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("kind", KINDS)
def test_each_container_has_a_tmp_of_its_own(kind: str, a_model: Make, template_of: Any) -> None:
    template = template_of(kind, a_model())
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    places = [
        mount["name"] for one in containers(template) for mount in one["volumeMounts"] if mount["mountPath"] == "/tmp"
    ]
    assert len(set(places)) == len(containers(template))
    assert all(volumes[place]["emptyDir"] == {} for place in places)


@pytest.mark.parametrize("kind", KINDS)
def test_every_mount_has_its_volume_and_every_volume_a_mount(kind: str, a_model: Make, template_of: Any) -> None:
    model = a_model(
        source={"uri": "pvc://models/bert", "secretRef": {"name": "s"}},
        data={"evaluation": {"uri": "pvc://data/val.npz", "secretRef": {"name": "d"}}},
        artifacts={"uri": "pvc://store/x", "secretRef": {"name": "a"}},
        commonPod={"volumes": [{"name": "ca", "mountPath": "/etc/ca", "secret": {"name": "ca"}}]},
    )
    template = template_of(kind, model)
    volumes = [volume["name"] for volume in template["spec"]["volumes"]]
    mounts = {mount["name"] for one in containers(template) for mount in one["volumeMounts"]}
    assert len(volumes) == len(set(volumes))
    assert mounts == set(volumes)


@pytest.mark.parametrize("kind", KINDS)
def test_users_additions_reach_every_pod(kind: str, a_model: Make, template_of: Any) -> None:
    model = a_model(
        commonMetadata={"labels": {"team": "nlp"}, "annotations": {"owner": "nlp@example.org"}},
        commonPod={
            "imagePullSecrets": [{"name": "harbor"}],
            "securityContext": {"runAsUser": 1000, "supplementalGroups": [100]},
            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "volumes": [{"name": "ca", "mountPath": "/etc/ca", "configMap": {"name": "corp-ca"}}],
        },
    )
    template = template_of(kind, model)
    spec = template["spec"]
    assert template["metadata"]["labels"]["team"] == "nlp"
    assert template["metadata"]["annotations"]["owner"] == "nlp@example.org"
    assert spec["imagePullSecrets"] == [{"name": "harbor"}]
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (1000, 65532)
    assert spec["securityContext"]["supplementalGroups"] == [100]
    assert {"name": "extra-ca", "configMap": {"name": "corp-ca"}} in spec["volumes"]
    for container in containers(template):
        assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in container["env"]
        assert {"name": "extra-ca", "mountPath": "/etc/ca", "readOnly": True} in container["volumeMounts"]


@pytest.mark.parametrize(("kind", "block"), [("compress", "jobs"), ("server", "serving")])
def test_pod_fields_are_honoured(kind: str, block: str, a_model: Make, template_of: Any) -> None:
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
            }
        }
    }
    pod = {
        "labels": {"mesh": "off"},
        "annotations": {"example.com/a": "b"},
        "serviceAccountName": "models",
        "priorityClassName": "batch",
        "runtimeClassName": "nvidia",
        "nodeSelector": {"pool": "gpu"},
        "affinity": affinity,
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
    }
    template = template_of(kind, a_model(**{block: {"pod": pod}}))
    spec = template["spec"]
    assert template["metadata"]["labels"]["mesh"] == "off"
    assert template["metadata"]["annotations"]["example.com/a"] == "b"
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64", "pool": "gpu"}
    for name in ("serviceAccountName", "priorityClassName", "runtimeClassName", "affinity", "tolerations"):
        assert spec[name] == pod[name]


def test_evaluation_is_placed_as_serving_and_known_as_jobs(a_model: Make, template_of: Any) -> None:
    model = a_model(
        jobs={"pod": {"labels": {"who": "jobs"}, "serviceAccountName": "models-rw", "nodeSelector": {"pool": "gpu"}}},
        serving={"pod": {"labels": {"who": "serving"}, "serviceAccountName": "ro", "nodeSelector": {"pool": "cpu"}}},
    )
    template = template_of("evaluate", model)
    assert template["spec"]["nodeSelector"]["pool"] == "cpu"
    assert template["spec"]["serviceAccountName"] == "models-rw"
    assert template["metadata"]["labels"]["who"] == "jobs"


@pytest.mark.parametrize("kind", KINDS)
def test_our_labels_cannot_be_overridden(kind: str, a_model: Make, template_of: Any) -> None:
    taken = {"labels": {"modelpress.dev/compressedmodel": "other"}}
    model = a_model(commonMetadata=taken, jobs={"pod": taken}, serving={"pod": taken})
    assert template_of(kind, model)["metadata"]["labels"]["modelpress.dev/compressedmodel"] == "bert"


@pytest.mark.parametrize("kind", ["evaluate", "server"])
def test_fetch_and_sidecar_stay_on_their_architecture_beside_images_of_the_users(
    kind: str, a_model: Make, template_of: Any
) -> None:
    images = {"serving": {"image": "me/serving:arm64"}, "jobs": {"image": "me/compressor:arm64"}}
    assert template_of(kind, a_model(**images))["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    own = {**images["serving"], "pod": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}}
    chosen = template_of(kind, a_model(serving=own))["spec"]["nodeSelector"]
    assert chosen == {"kubernetes.io/arch": "arm64"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_that_fails_without_a_message_leaves_its_last_lines(
    kind: str, a_model: Make, template_of: Any
) -> None:
    policies = {one["terminationMessagePolicy"] for one in containers(template_of(kind, a_model()))}
    assert policies == {"FallbackToLogsOnError"}


def test_an_image_of_the_users_may_run_on_any_architecture(a_model: Make, template_of: Any) -> None:
    assert template_of("server", a_model())["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert "nodeSelector" not in template_of("compress", a_model(jobs={"image": "me/compressor:arm64"}))["spec"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_empty_map_is_sent_but_those_that_mean_something(kind: str, a_model: Make, template_of: Any) -> None:
    def empties(value: Any, at: str = "") -> list[str]:
        if value in ({}, [], None) and not at.endswith(".emptyDir"):
            return [at]
        if isinstance(value, dict):
            return [found for name, inner in value.items() for found in empties(inner, f"{at}.{name}")]
        if isinstance(value, list):
            return [found for inner in value for found in empties(inner, at)]
        return []

    assert empties(template_of(kind, a_model())) == []
