"""The pods that serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modelpress.api.resource import CompressedModel
from modelpress.manifests import serving
from modelpress.manifests.measured import MeasuredWith
from modelpress.manifests.served import Served

Make = Callable[..., CompressedModel]


@pytest.fixture
def deployment(a_model: Make, a_servable: Callable[..., Served]) -> Callable[..., dict[str, Any]]:
    def make(
        *, annotations: dict[str, str] | None = None, replicas: int | None = 1, form: str = "TFLite", **spec: Any
    ) -> Any:
        model = a_model(annotations=annotations, **spec)
        return serving.deployment(model, a_servable(model, form=form), replicas=replicas)

    return make


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def test_the_containers_come_in_order_and_the_sidecar_outlives_the_server(deployment: Any) -> None:
    spec = pod(deployment())
    assert [one["name"] for one in spec["initContainers"]] == ["fetch", "sidecar"]
    assert spec["initContainers"][1]["restartPolicy"] == "Always"
    assert [one["name"] for one in spec["containers"]] == ["tensorflow-serving"]


def test_fetch_is_told_the_digest_and_the_warmup(deployment: Any) -> None:
    command = pod(deployment(serving={"warmup": {"requests": 7}, "modelName": "m"}))["initContainers"][0]["command"]
    assert command == [
        "modelpress",
        "fetch",
        "--store=pvc://bert-artifacts/",
        "--namespace=nlp",
        f"--artifact={'ab' * 32}",
        "--servable=candidates/1",
        f"--digest=sha256:{'cd' * 32}",
        "--model=m",
        "--into=/models",
        "--warmup=7",
    ]


def test_the_store_is_read_only_for_servers(deployment: Any) -> None:
    fetch = pod(deployment())["initContainers"][0]
    claim = next(mount for mount in fetch["volumeMounts"] if "pvc" in mount["name"])
    assert claim["readOnly"] is True


def test_only_the_sidecar_is_reached_from_outside(deployment: Any) -> None:
    spec = pod(deployment())
    sidecar, server = spec["initContainers"][1], spec["containers"][0]
    assert [(port["name"], port["containerPort"]) for port in sidecar["ports"]] == [
        ("grpc", 8500),
        ("rest", 8501),
        ("admin", 9090),
    ]
    assert "ports" not in server
    assert {"--port=0", "--grpc_socket_path=/run/modelpress/grpc.sock", "--rest_api_port=8502"} <= set(
        server["command"]
    )
    assert "--upstream-grpc=unix:/run/modelpress/grpc.sock" in sidecar["command"]
    assert "--upstream-rest=127.0.0.1:8502" in sidecar["command"]


def test_the_sidecars_identity_is_in_its_arguments(deployment: Any) -> None:
    command = pod(deployment(serving={"modelName": "m"}))["initContainers"][1]["command"]
    assert command[:2] == ["modelpress", "sidecar"]
    assert "--model=m" in command
    assert f"--artifact-digest=sha256:{'cd' * 32}" in command


def test_a_model_with_two_answers_is_never_cached(a_model: Make, a_servable: Callable[..., Served]) -> None:
    made = serving.deployment(a_model(), a_servable(deterministic=False), replicas=1)
    assert "--no-deterministic" in pod(made)["initContainers"][1]["command"]


def test_tunables_are_no_part_of_the_pod(deployment: Any) -> None:
    hot = {
        "cache": {"mode": "Enabled", "policy": "LFU", "ttl": "5m"},
        "concurrency": {"limit": 9, "queue": {"depth": 1}},
    }
    assert deployment(**hot)["spec"] == deployment()["spec"]


def test_the_caches_memory_is_added_to_the_sidecars(deployment: Any) -> None:
    resources = pod(deployment(cache={"memory": {"size": "1Gi"}}))["initContainers"][1]["resources"]
    assert resources["limits"]["memory"] == str(2**30 + 256 * 2**20)
    assert resources["requests"] == {"cpu": "250m", "memory": str(2**30 + 128 * 2**20)}


def test_the_server_is_sized_by_its_cpu_limit(deployment: Any) -> None:
    command = pod(deployment(serving={"resources": {"limits": {"cpu": "3500m"}}}))["containers"][0]["command"]
    assert {"--num_tflite_pools=3", "--tensorflow_intra_op_parallelism=3"} <= set(command)


def test_a_savedmodel_is_not_preferred_to_be_tflite(deployment: Any) -> None:
    assert "--prefer_tflite_model=true" not in pod(deployment(form="SavedModel"))["containers"][0]["command"]


def test_a_revision_keeps_the_threads_and_batching_it_was_measured_with(
    a_model: Make, a_servable: Callable[..., Served]
) -> None:
    before, after = a_model(), a_model(serving={"batching": {}, "resources": {"limits": {"cpu": "8"}}})
    kept = serving.deployment(after, a_servable(before), replicas=1)
    command = pod(kept)["containers"][0]["command"]
    assert "--num_tflite_pools=2" in command
    assert "--enable_batching=true" not in command
    noted = MeasuredWith.from_json(kept["metadata"]["annotations"]["modelpress.dev/measured-with"])
    assert noted == MeasuredWith.wanted(before) != MeasuredWith.wanted(after)


def test_a_pod_ends_when_it_is_drained(deployment: Any) -> None:
    spec = pod(deployment(serving={"requestTimeout": "45s"}))
    assert spec["terminationGracePeriodSeconds"] == 75
    assert spec["initContainers"][1]["lifecycle"]["preStop"]["httpGet"]["path"] == "/drain"
    assert "/dev/tcp/127.0.0.1/9090" in spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2]


def test_replicas_are_not_sent_where_an_autoscaler_decides(deployment: Any) -> None:
    assert deployment(replicas=3)["spec"]["replicas"] == 3
    assert "replicas" not in deployment(replicas=None)["spec"]


def test_a_rollout_keeps_pods_as_the_resource_says(deployment: Any) -> None:
    spec = deployment(rollout={"maxSurge": "25%", "maxUnavailable": 1, "progressDeadline": "3m"})["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 1}
    assert spec["progressDeadlineSeconds"] == 180


def test_selectors_hold_only_what_never_changes(deployment: Any) -> None:
    assert deployment(commonMetadata={"labels": {"team": "nlp"}})["spec"]["selector"]["matchLabels"] == {
        "modelpress.dev/compressedmodel": "bert",
        "app.kubernetes.io/component": "server",
        "modelpress.dev/role": "current",
    }


def test_a_restart_can_be_asked_for(deployment: Any) -> None:
    asked = deployment(annotations={"modelpress.dev/restarted-at": "2026-11-22T10:00:00Z"})
    assert asked["spec"]["template"]["metadata"]["annotations"] == {
        "modelpress.dev/restarted-at": "2026-11-22T10:00:00Z"
    }


def test_pods_spread_over_zones_and_nodes_unless_told_otherwise(deployment: Any) -> None:
    spread = pod(deployment())["topologySpreadConstraints"]
    assert [one["whenUnsatisfiable"] for one in spread] == ["ScheduleAnyway", "ScheduleAnyway"]
    own = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    spread = pod(deployment(serving={"pod": {"topologySpreadConstraints": [own]}}))["topologySpreadConstraints"]
    assert spread == [{**own, "labelSelector": {"matchLabels": {
        "modelpress.dev/compressedmodel": "bert", "app.kubernetes.io/component": "server"}}}]  # fmt: skip
    assert "topologySpreadConstraints" not in pod(deployment(serving={"pod": {"topologySpreadConstraints": []}}))


def test_the_service_leads_to_the_sidecar(a_model: Make) -> None:
    service = serving.service(a_model())
    assert service["metadata"]["name"] == "bert"
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(8500, "grpc"), (8501, "rest")]
