"""Labels of objects and pods. Selectors are immutable: they use only the model, the component and the role."""

from __future__ import annotations

from typing import Literal

from modelpress.api.base import GROUP
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import MANAGED_BY, MANAGED_BY_LABEL, MODEL_LABEL

COMPONENT_LABEL = "app.kubernetes.io/component"
ROLE_LABEL = f"{GROUP}/role"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

Component = Literal["server", "compress", "evaluate"]
PRODUCTS: dict[Component, str] = {"server": "tensorflow-serving", "compress": "modelpress", "evaluate": "modelpress"}


def of(model: CompressedModel, component: Component) -> dict[str, str]:
    """Everything below the model carries these; users' own come from commonMetadata and never win over ours."""
    return {
        **model.spec.common_metadata.labels,
        "app.kubernetes.io/name": PRODUCTS[component],
        "app.kubernetes.io/instance": model.metadata.name,
        "app.kubernetes.io/part-of": "modelpress",
        COMPONENT_LABEL: component,
        MANAGED_BY_LABEL: MANAGED_BY,
        MODEL_LABEL: model.metadata.name,
    }


def server_selector(model: CompressedModel) -> dict[str, str]:
    """All serving pods of a model, whatever their role."""
    return {MODEL_LABEL: model.metadata.name, COMPONENT_LABEL: "server"}


def current_selector(model: CompressedModel) -> dict[str, str]:
    """The serving pods of the current revision."""
    return {**server_selector(model), ROLE_LABEL: "current"}


def compress_selector(model: CompressedModel) -> dict[str, str]:
    """The pods of the compress Job."""
    return {MODEL_LABEL: model.metadata.name, COMPONENT_LABEL: "compress"}


def as_text(selector: dict[str, str]) -> str:
    """As in `kubectl get pods -l`."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
