"""Secrets of remote stores reach the containers that read there, by role, as files, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modelpress.api.request import Request
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import Manifest
from modelpress.manifests import jobs, serving, store
from modelpress.manifests.installation import Installation
from modelpress.manifests.served import Served
from modelpress.storage import credentials

Make = Callable[..., CompressedModel]
SPEC: dict[str, Any] = {
    "source": {"uri": "s3://m/x", "secretRef": {"name": "models"}},
    "data": {
        "evaluation": {"uri": "s3://d/e.npz", "secretRef": {"name": "data"}},
        "calibration": {"uri": "gs://c/c.npz", "secretRef": {"name": "examples"}},
        "training": {"uri": "az://t/t.npz", "secretRef": {"name": "rows"}},
    },
    "cache": {"prefetch": {"uri": "s3://p/common.npz", "secretRef": {"name": "common"}}},
    "recipe": {"steps": [{"distill": {"student": {"uri": "s3://m/small"}}}]},
    "artifacts": {"uri": "s3://a/", "secretRef": {"name": "results"}},
}
ROOT = store.SECRETS_ROOT + "/"


@pytest.fixture
def pods(
    a_model: Make,
    a_request: Callable[[CompressedModel], Request],
    a_servable: Callable[..., Served],
    installation: Installation,
) -> dict[str, Manifest]:
    """Specs of the three kinds of pods."""
    model = a_model(**SPEC)
    request, candidate = a_request(model), a_servable(model, store="s3://a", prefetch="ab12cd34ef")
    source = candidate._replace(servable="source", form="SavedModel")
    made = {
        "compress": jobs.compress(model, request, "ab" * 32, installation),
        "evaluate": jobs.evaluate(model, request, "ab" * 32, installation, source=source, candidate=candidate, index=1),
        "serve": serving.deployment(model, candidate, replicas=1),
    }
    return {name: manifest["spec"]["template"]["spec"] for name, manifest in made.items()}


def secrets(pod: Manifest, container: str) -> dict[str, str]:
    """Role to Secret, of what a container sees."""
    volumes = {one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
    (found,) = [one for one in (*pod.get("initContainers", ()), *pod["containers"]) if one["name"] == container]
    mounts = [one for one in found["volumeMounts"] if one["mountPath"].startswith(ROOT)]
    assert all(mount["readOnly"] for mount in mounts)
    return {mount["mountPath"].removeprefix(ROOT): volumes[mount["name"]] for mount in mounts}


def test_compression_reads_each_role_with_its_own_secret(pods: dict[str, Manifest]) -> None:
    assert secrets(pods["compress"], "compress") == {
        "source": "models",
        "evaluation": "data",
        "calibration": "examples",
        "training": "rows",
        "prefetch": "common",
        "artifacts": "results",
    }


def test_a_student_is_read_with_the_secret_of_the_source(pods: dict[str, Manifest], a_model: Make) -> None:
    assert "student" not in secrets(pods["compress"], "compress")
    assert store.data_uris(a_model(**SPEC))["student"] == ("s3://m/small", None)


def test_the_claim_of_a_student_is_mounted_read_only(
    a_model: Make, a_request: Callable[[CompressedModel], Request], installation: Installation
) -> None:
    model = a_model(**{**SPEC, "recipe": {"steps": [{"distill": {"student": {"uri": "pvc://small/bert"}}}]}})
    pod = jobs.compress(model, a_request(model), "ab" * 32, installation)["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts[f"{store.PVC_ROOT}/small"]["readOnly"] is True


def test_evaluation_sees_no_training_data(pods: dict[str, Manifest]) -> None:
    roles = {"source": "models", "evaluation": "data", "artifacts": "results"}
    assert secrets(pods["evaluate"], "evaluate") == roles
    assert secrets(pods["evaluate"], "fetch-source") == {"artifacts": "results"}
    assert secrets(pods["evaluate"], "server-candidate") == {}


def test_only_what_fetches_knows_the_store_of_a_serving_pod(pods: dict[str, Manifest]) -> None:
    assert secrets(pods["serve"], "fetch") == {"artifacts": "results"}
    assert secrets(pods["serve"], serving.SIDECAR) == secrets(pods["serve"], serving.SERVER) == {}


def test_no_secret_is_in_the_environment(pods: dict[str, Manifest]) -> None:
    containers = [one for pod in pods.values() for one in (*pod.get("initContainers", ()), *pod["containers"])]
    assert not [one["name"] for one in containers if "envFrom" in one]
    assert not [one["name"] for one in containers for variable in one.get("env", ()) if "valueFrom" in variable]


def test_storage_looks_where_they_are_mounted() -> None:
    assert store.SECRETS_ROOT == credentials.ROOT
