"""How many pods: the autoscaler and the disruption budget. Both aim at the Deployment, never at the user's resource."""

from __future__ import annotations

import math
from typing import Any

from modelpress.api import duration
from modelpress.api.errors import Problem
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import AUTOSCALER, DEPLOYMENT, DISRUPTION_BUDGET, Manifest
from modelpress.manifests import labels, metadata, names, serving, store
from modelpress.manifests.installation import Installation


def is_stopped(model: CompressedModel) -> bool:
    """Zero replicas stop the model, also under autoscaling."""
    return model.spec.serving.replicas == 0


def is_autoscaled(model: CompressedModel) -> bool:
    """Somebody else decides on the number of pods."""
    return model.spec.autoscaling is not None and not is_stopped(model)


def most_pods(model: CompressedModel) -> int:
    """How many pods may serve at once, but for a surge."""
    scaled = model.spec.autoscaling
    return scaled.max_replicas if scaled and is_autoscaled(model) else model.spec.serving.replicas


def refusals(model: CompressedModel, installation: Installation) -> tuple[Problem, ...]:
    """Several pods on a volume that one node can mount: those on other nodes would never start.

    The API server refuses it where the resource names the volume; only the operator knows the store of the others.
    """
    if most_pods(model) < 2 or not store.is_on_one_node(model, installation):
        return ()
    scaled = "autoscaling.maxReplicas" if is_autoscaled(model) else "serving.replicas"
    message = (
        f"{scaled} is {most_pods(model)}, but without a store the model is kept on a ReadWriteOnce volume of its own,"
        " which serves one pod: set artifacts.uri, e.g. pvc://models/artifacts, or"
        " artifacts.volume.accessMode: ReadWriteMany"
    )
    return (Problem("spec.artifacts", message),)


def autoscaler(model: CompressedModel) -> Manifest | None:
    """On the CPU of the server's container only: the sidecar's would hide it."""
    wanted = model.spec.autoscaling
    if wanted is None or not is_autoscaled(model) or wanted.provider != "HPA" or wanted.metric != "CPU":
        return None
    delay = math.ceil(duration.seconds(wanted.scale_down_delay))
    target = {"type": "Utilization", "averageUtilization": wanted.target_utilization}
    spec: dict[str, Any] = {
        "scaleTargetRef": {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.kind,
            "name": names.server(model),
        },
        "minReplicas": wanted.min_replicas,
        "maxReplicas": wanted.max_replicas,
        "metrics": [
            {
                "type": "ContainerResource",
                "containerResource": {"name": "cpu", "container": serving.SERVER, "target": target},
            }
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": min(delay, 3600)}},
    }
    return metadata.manifest(AUTOSCALER, names.server(model), model, "server", spec=spec)


def disruption_budget(model: CompressedModel) -> Manifest | None:
    """Made where two pods may be wanted; a single pod gets none, as it would block node drains."""
    if most_pods(model) < 2:
        return None
    spec = {
        "maxUnavailable": model.spec.serving.pod_disruption_budget.max_unavailable,
        "selector": {"matchLabels": labels.server_selector(model)},
    }
    return metadata.manifest(DISRUPTION_BUDGET, names.server(model), model, "server", spec=spec)
