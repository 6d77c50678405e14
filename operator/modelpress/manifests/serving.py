"""The pods that serve, and their Service: fetch, the sidecar on 8500 and 8501, then TensorFlow Serving behind it."""

from __future__ import annotations

import math
from typing import Any

from modelpress.api import duration, identity
from modelpress.api.base import GROUP
from modelpress.api.pod import Resources
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import DEPLOYMENT, SERVICE, Manifest
from modelpress.manifests import labels, metadata, names, pods, store, tiers
from modelpress.manifests.measured import MEASURED_WITH
from modelpress.manifests.served import Served
from modelpress.runtime import batching, command, probes
from modelpress.runtime import flags as runtime_flags

PROGRAM = "modelpress"
SERVER = "tensorflow-serving"
SIDECAR = "sidecar"
GRPC, REST, ADMIN, SERVER_REST = 8500, 8501, 9090, 8502
MODELS = "/models"
SOCKETS = "/run/modelpress"
SOCKET = f"{SOCKETS}/grpc.sock"
CONFIG = "/etc/modelpress"
PREFETCH_FILE = ".prefetch/requests.tfrecord"
"""Below the folder of models; no model has such a name."""
PREFETCH_FLAG = "--prefetch="
RESTARTED_AT = f"{GROUP}/restarted-at"
ROLLOUT, FAILED_ROLLOUT = f"{GROUP}/rollout", f"{GROUP}/failed-rollout"
ROLLOUT_KEY_LENGTH = 16
DRAIN_SECONDS = 30
"""On top of the longest request: endpoints are withdrawn, then the queue empties."""


def deployment(
    model: CompressedModel, served: Served, *, replicas: int | None, failed_rollout: str | None = None
) -> Manifest:
    """Serves one servable. `replicas` None: the autoscaler's business, so it is not sent.

    `failed_rollout` is the key of the rollout that this one takes the place of, because it failed.
    """
    annotations = {MEASURED_WITH: served.measured.json_line(), ROLLOUT: rollout_key(model, served)}
    return metadata.manifest(
        DEPLOYMENT,
        names.server(model),
        model,
        "server",
        annotations={**annotations, **({FAILED_ROLLOUT: failed_rollout} if failed_rollout else {})},
        more_labels={labels.ROLE_LABEL: "current"},
        spec={**({} if replicas is None else {"replicas": replicas}), **_spec(model, served)},
    )


def rollout_key(model: CompressedModel, served: Served) -> str:
    """Names a rollout by what the user can change of what its success depends on.

    Whether answers may be kept is no part of that, nor are images of the installation: an upgrade tries nothing again.
    """
    image = model.spec.serving.image or ""
    spec = _spec(model, served._replace(deterministic=True, image=image, sidecar_image="", prefetch=None))
    return identity.key({**spec, "replicas": model.spec.serving.replicas})[:ROLLOUT_KEY_LENGTH]


def _spec(model: CompressedModel, served: Served) -> dict[str, Any]:
    rollout = model.spec.rollout
    return {
        "selector": {"matchLabels": labels.current_selector(model)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": rollout.max_surge, "maxUnavailable": rollout.max_unavailable},
        },
        "progressDeadlineSeconds": max(1, math.ceil(duration.seconds(rollout.progress_deadline))),
        "revisionHistoryLimit": 2,
        "template": _template(model, served),
    }


def service(model: CompressedModel) -> Manifest:
    """Both protocols, to the pods of the current revision."""
    ports = [
        {"name": "grpc", "port": GRPC, "targetPort": "grpc", "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"},
        {"name": "rest", "port": REST, "targetPort": "rest", "protocol": "TCP", "appProtocol": "http"},
    ]
    spec = {"type": "ClusterIP", "selector": labels.current_selector(model), "ports": ports}
    return metadata.manifest(SERVICE, names.server(model), model, "server", spec=spec)


def fetch(model: CompressedModel, served: Served, *, name: str = "fetch", models: str = "models") -> pods.Container:
    """The init container that copies a servable into the pod, checked by its digest."""
    _, claim_mounts = store.claim_volumes([], [served.store])
    _, secret_mounts = store.secret_volumes({"artifacts": store.artifacts_secret(model)})
    return pods.container(
        model,
        name,
        served.sidecar_image,
        command=[
            PROGRAM,
            "fetch",
            f"--store={served.store}",
            f"--namespace={names.namespace(model)}",
            f"--artifact={served.artifact}",
            f"--servable={served.servable}",
            f"--digest={served.digest}",
            f"--model={names.served_model(model)}",
            f"--into={MODELS}",
            f"--warmup={model.spec.serving.warmup.requests}",
            *((f"{PREFETCH_FLAG}{served.prefetch}",) if served.prefetch else ()),
        ],
        resources=Resources(requests={"cpu": "100m", "memory": "128Mi"}, limits={"memory": "512Mi"}),
        env={"HOME": pods.TMP},
        mounts=[{"name": models, "mountPath": MODELS}, *claim_mounts, *secret_mounts],
    )


def flags(
    model: CompressedModel, served: Served, *, rest_port: int, grpc_port: int = 0, grpc_socket: str | None = None
) -> tuple[str, ...]:
    """Flags of the server for this servable."""
    return runtime_flags.server_flags(
        names.served_model(model),
        f"{MODELS}/{names.served_model(model)}",
        threads=served.measured.threads,
        tflite=served.form == "TFLite",
        rest_port=rest_port,
        grpc_port=grpc_port,
        grpc_socket=grpc_socket,
        request_timeout_seconds=duration.seconds(model.spec.serving.request_timeout),
        batching=served.measured.batching,
        batching_file=command.BATCHING_FILE,
    )


def batching_environment(served: Served) -> dict[str, str]:
    """The batching parameters' text, which the server's shell writes into a file; empty where batching is off."""
    wanted = served.measured.batching
    if wanted is None:
        return {}
    return {command.BATCHING_VARIABLE: batching.parameters(wanted, threads=served.measured.threads)}


def _template(model: CompressedModel, served: Served) -> dict[str, Any]:
    serving = model.spec.serving
    claims, _ = store.claim_volumes([], [served.store])
    secrets, _ = store.secret_volumes({"artifacts": store.artifacts_secret(model)})
    restarted = (model.metadata.annotations or {}).get(RESTARTED_AT)
    places: list[Any] = [
        {"name": "models", "emptyDir": {}},
        {"name": "sockets", "emptyDir": {}},
        {"name": "config", "configMap": {"name": names.sidecar_config(model)}},
        *tiers.volumes(model),
    ]
    return pods.template(
        model,
        "server",
        identity=serving.pod,
        placement=serving.pod,
        more_labels={labels.ROLE_LABEL: "current"},
        annotations={RESTARTED_AT: restarted} if restarted else None,
        init_containers=[fetch(model, served), _sidecar(model, served)],
        containers=[_server(model, served)],
        volumes=[*places, *claims, *secrets],
        topologySpreadConstraints=_spread(model),
        terminationGracePeriodSeconds=math.ceil(duration.seconds(serving.request_timeout)) + DRAIN_SECONDS,
    )


def _server(model: CompressedModel, served: Served) -> pods.Container:
    deadline = duration.seconds(model.spec.rollout.progress_deadline)
    return pods.container(
        model,
        SERVER,
        served.image,
        command=command.forwarding(flags(model, served, rest_port=SERVER_REST, grpc_socket=SOCKET)),
        resources=model.spec.serving.resources,
        env=batching_environment(served),
        mounts=[
            {"name": "models", "mountPath": MODELS, "readOnly": True},
            {"name": "sockets", "mountPath": SOCKETS},
        ],
        startupProbe=probes.server_startup(SERVER_REST, deadline_seconds=deadline),
        livenessProbe=probes.server_liveness(SERVER_REST),
        lifecycle={"preStop": {"exec": {"command": command.wait_for_drain(ADMIN)}}},
    )


def _sidecar(model: CompressedModel, served: Served) -> pods.Container:
    """A native sidecar: it starts before the server and ends after it. Its identity never changes while it runs."""
    return pods.container(
        model,
        SIDECAR,
        served.sidecar_image,
        command=[
            PROGRAM,
            SIDECAR,
            f"--model={names.served_model(model)}",
            f"--artifact-digest={served.digest}",
            f"--upstream-grpc=unix:{SOCKET}",
            f"--upstream-rest=127.0.0.1:{SERVER_REST}",
            f"--config-dir={CONFIG}",
            f"--grpc-port={GRPC}",
            f"--rest-port={REST}",
            f"--admin-port={ADMIN}",
            *(() if served.deterministic else ("--no-deterministic",)),
            *tiers.flags(model),
            *((f"--prefetch-file={MODELS}/{PREFETCH_FILE}",) if served.prefetch else ()),
        ],
        restartPolicy="Always",
        resources=tiers.resources(model),
        env={"HOME": pods.TMP},
        ports=[
            {"name": "grpc", "containerPort": GRPC, "protocol": "TCP"},
            {"name": "rest", "containerPort": REST, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN, "protocol": "TCP"},
        ],
        mounts=[
            {"name": "sockets", "mountPath": SOCKETS},
            {"name": "config", "mountPath": CONFIG, "readOnly": True},
            *tiers.mounts(model),
            *([{"name": "models", "mountPath": MODELS, "readOnly": True}] if served.prefetch else []),
        ],
        startupProbe=probes.sidecar_startup(ADMIN),
        readinessProbe=probes.sidecar_readiness(ADMIN),
        livenessProbe=probes.sidecar_liveness(ADMIN),
        lifecycle={"preStop": {"httpGet": {"path": "/drain", "port": ADMIN}}},
    )


def _spread(model: CompressedModel) -> list[Any]:
    """Over zones and nodes where the resource says nothing; the selector is ours."""
    selector = {"labelSelector": {"matchLabels": labels.server_selector(model)}}
    wanted = model.spec.serving.pod.topology_spread_constraints
    if wanted is None:
        keys = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        return [{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", **selector} for key in keys]
    return [{**constraint.plain(), **selector} for constraint in wanted]
