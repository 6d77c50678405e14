"""What all pods have in common: Pod Security `restricted`, the user's additions, and places to write."""

from __future__ import annotations

from typing import Any

from modelpress.api.pod import CommonPod, Pod, Resources
from modelpress.api.resource import CompressedModel
from modelpress.manifests import labels, names
from modelpress.manifests.metadata import present

NONROOT = 65532
ARCHITECTURE = "kubernetes.io/arch"
TMP = "/tmp"  # noqa: S108 - an emptyDir of each container's own

Container = dict[str, Any]


def template(
    model: CompressedModel,
    component: labels.Component,
    *,
    identity: Pod,
    placement: Pod,
    own_image: bool = True,
    containers: list[Container],
    init_containers: list[Container],
    more_labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod template. `own_image` False (every image is the user's) leaves the architecture open."""
    metadata = {
        "labels": {**identity.labels, **labels.of(model, component), **(more_labels or {})},
        "annotations": {**model.spec.common_metadata.annotations, **identity.annotations, **(annotations or {})},
    }
    common = model.spec.common_pod
    places = [{"name": _tmp(one["name"]), "emptyDir": {}} for one in (*init_containers, *containers)]
    pod = {
        "serviceAccountName": identity.service_account_name or names.service_account(model),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security(common),
        "imagePullSecrets": [secret.plain() for secret in common.image_pull_secrets],
        **_placement(placement, own_image=own_image),
        **spec,
        "volumes": [*places, *_extra_volumes(common), *spec.get("volumes", ())],
        "initContainers": init_containers,
        "containers": containers,
    }
    return {"metadata": present(metadata), "spec": present(pod)}


def container(
    model: CompressedModel,
    name: str,
    image: str,
    *,
    resources: Resources | None = None,
    env: dict[str, str] | None = None,
    mounts: list[Any] | None = None,
    **more: Any,
) -> Container:
    """A container that may do nothing but its work; /tmp is its only place to write beside `mounts`."""
    common = model.spec.common_pod
    variables = {variable.name: variable.value for variable in common.env} | (env or {})
    return present(
        {
            "name": name,
            "image": image,
            "env": [{"name": key, "value": value} for key, value in variables.items()],
            "resources": resources.plain() if resources else None,
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumeMounts": [
                {"name": _tmp(name), "mountPath": TMP},
                *_extra_mounts(common),
                *(mounts or ()),
            ],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            **more,
        }
    )


def _tmp(container_name: str) -> str:
    return f"tmp-{container_name}"


def security(common: CommonPod) -> dict[str, Any]:
    """Ids are the user's, all else is fixed."""
    ids = common.security_context
    return present(
        {
            "runAsNonRoot": True,
            "runAsUser": ids.run_as_user or NONROOT,
            "runAsGroup": ids.run_as_group or NONROOT,
            "fsGroup": ids.fs_group or NONROOT,
            "fsGroupChangePolicy": "OnRootMismatch",
            "supplementalGroups": list(ids.supplemental_groups),
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    )


def _placement(pod: Pod, *, own_image: bool) -> dict[str, Any]:
    """TensorFlow Serving and our images exist for amd64 only; who has others names another architecture."""
    return {
        "nodeSelector": {**({ARCHITECTURE: "amd64"} if own_image else {}), **pod.node_selector},
        "affinity": pod.affinity.plain() if pod.affinity else None,
        "tolerations": [toleration.plain() for toleration in pod.tolerations],
        "priorityClassName": pod.priority_class_name,
        "runtimeClassName": pod.runtime_class_name,
    }


def _extra_volumes(common: CommonPod) -> list[Any]:
    return [
        {"name": f"extra-{volume.name}", "configMap": {"name": volume.config_map.name}}
        if volume.config_map
        else {"name": f"extra-{volume.name}", "secret": {"secretName": volume.secret.name if volume.secret else ""}}
        for volume in common.volumes
    ]


def _extra_mounts(common: CommonPod) -> list[Any]:
    return [
        {"name": f"extra-{volume.name}", "mountPath": volume.mount_path, "readOnly": True} for volume in common.volumes
    ]
