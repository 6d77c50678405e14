"""The Jobs that compress and evaluate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modelpress.api.request import Request
from modelpress.api.resource import CompressedModel
from modelpress.manifests import jobs
from modelpress.manifests.installation import Installation
from modelpress.manifests.served import Served

Make = Callable[..., CompressedModel]
KEY = "ab12cd34ef" + "0" * 54


@pytest.fixture
def compress(
    a_model: Make, a_request: Callable[[CompressedModel], Request], installation: Installation
) -> Callable[..., dict[str, Any]]:
    def make(**spec: Any) -> dict[str, Any]:
        model = a_model(**spec)
        return jobs.compress(model, a_request(model), KEY, installation)

    return make


@pytest.fixture
def evaluate(
    a_model: Make,
    a_request: Callable[[CompressedModel], Request],
    a_servable: Callable[..., Served],
    installation: Installation,
) -> Callable[..., dict[str, Any]]:
    def make(**spec: Any) -> dict[str, Any]:
        model = a_model(**spec)
        candidate = a_servable(model, servable="candidates/2")
        source = candidate._replace(servable="source", form="SavedModel", digest="sha256:" + "ee" * 32)
        return jobs.evaluate(model, a_request(model), KEY, installation, source=source, candidate=candidate, index=2)

    return make


def pod(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def mounts(container: dict[str, Any]) -> dict[str, bool]:
    """Path to writable."""
    return {mount["mountPath"]: not mount.get("readOnly") for mount in container["volumeMounts"]}


def test_jobs_are_named_by_content(compress: Any, evaluate: Any) -> None:
    assert compress()["metadata"]["name"] == "bert-compress-ab12cd34ef"
    assert evaluate()["metadata"]["name"] == "bert-evaluate-ab12cd34ef"


def test_the_model_owns_its_jobs_without_a_right_on_its_finalizers(compress: Any) -> None:
    assert compress()["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "modelpress.dev/v1alpha1",
            "kind": "CompressedModel",
            "name": "bert",
            "uid": "u-1",
            "controller": True,
        }
    ]


@pytest.mark.parametrize("job", ["compress", "evaluate"])
def test_bad_input_ends_a_job_and_evictions_are_not_counted(job: str, request: pytest.FixtureRequest) -> None:
    rules = request.getfixturevalue(job)()["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "FailJob", "onExitCodes": {"containerName": job, "operator": "In", "values": [64]}}
    assert rules[-1] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def test_a_model_that_cannot_be_fetched_ends_the_evaluation(evaluate: Any) -> None:
    rules = evaluate()["spec"]["podFailurePolicy"]["rules"]
    final = {rule["onExitCodes"]["containerName"] for rule in rules if rule["action"] == "FailJob"}
    assert final == {"evaluate", "fetch-source", "fetch-candidate"}


def test_limits_of_a_job_are_the_resources(compress: Any) -> None:
    spec = compress(jobs={"timeout": "1h30m", "retries": 4, "ttlAfterFinished": "10m"})["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (5400, 4, 600)


def test_a_finished_job_lives_long_enough_to_be_read(compress: Any) -> None:
    assert compress(jobs={"ttlAfterFinished": "0s"})["spec"]["ttlSecondsAfterFinished"] == 60


def test_a_queue_is_named_by_kueues_label(compress: Any, evaluate: Any) -> None:
    label = "kueue.x-k8s.io/queue-name"
    assert label not in compress()["metadata"]["labels"]
    for job in (compress, evaluate):
        assert job(jobs={"queueName": "research"})["metadata"]["labels"][label] == "research"


def test_compression_gets_its_request_without_secrets(compress: Any) -> None:
    container = pod(compress())["containers"][0]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    request = Request.from_json(environment["MODELPRESS_REQUEST"])
    assert container["command"] == ["modelpress", "compress"]
    assert (request.name, request.namespace, request.store) == ("bert", "nlp", "pvc://bert-artifacts/")


def test_compression_runs_on_a_gpu_where_asked(compress: Any) -> None:
    limits = {"nvidia.com/gpu": 1, "memory": "16Gi"}
    container = pod(compress(jobs={"resources": {"limits": limits}}))["containers"][0]
    assert container["image"] == "reg/compressor:1-gpu"
    assert container["resources"]["limits"] == limits


def test_an_image_of_the_users_is_taken_as_it_is(compress: Any) -> None:
    job = compress(jobs={"image": "me/c:2", "resources": {"limits": {"nvidia.com/gpu": 1}}})
    assert pod(job)["containers"][0]["image"] == "me/c:2"


def test_sources_are_read_only_and_the_store_is_writable(compress: Any) -> None:
    found = mounts(pod(compress(data={"training": {"uri": "pvc://rows/t.npz"}}))["containers"][0])
    assert found["/var/run/modelpress/pvc/models"] is False
    assert found["/var/run/modelpress/pvc/rows"] is False
    assert found["/var/run/modelpress/pvc/bert-artifacts"] is True


def test_a_claim_that_holds_both_is_mounted_once_and_writable(compress: Any) -> None:
    job = compress(source={"uri": "pvc://bert-artifacts/in"})
    assert mounts(pod(job)["containers"][0])["/var/run/modelpress/pvc/bert-artifacts"] is True
    assert sum("persistentVolumeClaim" in volume for volume in pod(job)["volumes"]) == 1


def test_secrets_are_mounted_as_files_for_those_who_read(compress: Any, evaluate: Any) -> None:
    spec = {
        "source": {"uri": "s3://m/x", "secretRef": {"name": "models"}},
        "data": {
            "evaluation": {"uri": "s3://d/e.npz", "secretRef": {"name": "data"}},
            "training": {"uri": "s3://d/t.npz", "secretRef": {"name": "rows"}},
        },
        "artifacts": {"uri": "s3://a/", "secretRef": {"name": "store"}},
    }
    root = "/var/run/modelpress/secrets/"
    assert {path for path in mounts(pod(compress(**spec))["containers"][0]) if path.startswith(root)} == {
        root + role for role in ("source", "evaluation", "training", "artifacts")
    }
    assert root + "training" not in mounts(pod(evaluate(**spec))["containers"][0])


def test_evaluation_fetches_both_and_serves_both_with_the_serving_limits(evaluate: Any) -> None:
    resources = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "3Gi"}}
    spec = pod(evaluate(serving={"resources": resources, "modelName": "m"}))
    first, second, source, candidate = spec["initContainers"]
    assert [one["name"] for one in (first, second)] == ["fetch-source", "fetch-candidate"]
    assert "--servable=source" in first["command"]
    assert "--servable=candidates/2" in second["command"]
    assert spec["shareProcessNamespace"] is True
    for server, port in ((source, 8501), (candidate, 8511)):
        assert server["restartPolicy"] == "Always"
        assert server["resources"] == resources
        assert f"--rest_api_port={port}" in server["command"]
        assert "--tensorflow_intra_op_parallelism=4" in server["command"]
        assert "startupProbe" not in server
    assert "--prefer_tflite_model=true" in candidate["command"]
    assert "--prefer_tflite_model=true" not in source["command"]


def test_the_client_of_an_evaluation_can_put_a_constant_model_beside_each_servers_model(evaluate: Any) -> None:
    spec = pod(evaluate())
    container = spec["containers"][0]
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    for role, server in (("source", spec["initContainers"][2]), ("candidate", spec["initContainers"][3])):
        assert f"--{role}-models={mounted[f'models-{role}']}" in container["command"]
        (seen,) = [one for one in server["volumeMounts"] if one["name"] == f"models-{role}"]
        assert f"--server-models={seen['mountPath']}" in container["command"]
        assert f"--model_base_path={seen['mountPath']}/bert" in server["command"]


def test_the_client_of_an_evaluation_has_a_cpu_of_its_own(evaluate: Any) -> None:
    container = pod(evaluate())["containers"][0]
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "8Gi"}}
    assert container["command"][:2] == ["modelpress", "evaluate"]
    assert "--candidate=2" in container["command"]
    assert "--source-grpc=127.0.0.1:8500" in container["command"]
    assert "--candidate-rest=127.0.0.1:8511" in container["command"]


def test_batching_is_measured_as_it_will_be_served(evaluate: Any) -> None:
    server = pod(evaluate(serving={"batching": {"maxBatchSize": 8}}))["initContainers"][3]
    environment = {variable["name"]: variable["value"] for variable in server["env"]}
    assert "max_batch_size { value: 8 }" in environment["BATCHING_PARAMETERS"]
    assert "--enable_batching=true" in server["command"]
