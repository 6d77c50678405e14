"""Names of all objects made for a model; Jobs are named by content, so that nothing is made twice."""

from __future__ import annotations

from modelpress.api.identity import KEY_LENGTH_IN_NAMES
from modelpress.api.resource import CompressedModel

DEFAULT_NAMESPACE = "default"


def namespace(model: CompressedModel) -> str:
    """Where the model and all its objects live."""
    return model.metadata.namespace or DEFAULT_NAMESPACE


def server(model: CompressedModel) -> str:
    """Deployment, Service, autoscaler, disruption budget and network policy."""
    return model.metadata.name


def served_model(model: CompressedModel) -> str:
    """The name in /v1/models/<name>."""
    return model.spec.serving.model_name or model.metadata.name


def compress_job(model: CompressedModel, request_key: str) -> str:
    """By request key R."""
    return f"{model.metadata.name}-compress-{request_key[:KEY_LENGTH_IN_NAMES]}"


def evaluate_job(model: CompressedModel, evaluation_key: str) -> str:
    """By evaluation key E."""
    return f"{model.metadata.name}-evaluate-{evaluation_key[:KEY_LENGTH_IN_NAMES]}"


def workers(model: CompressedModel) -> str:
    """Service and network policy of the pods that train together."""
    return f"{model.metadata.name}-workers"


def sidecar_config(model: CompressedModel) -> str:
    """The ConfigMap with the sidecar's tunables."""
    return f"{model.metadata.name}-sidecar"


def artifacts_claim(model: CompressedModel) -> str:
    """The PersistentVolumeClaim of a model that has a store of its own."""
    return f"{model.metadata.name}-artifacts"


def service_account(model: CompressedModel) -> str:
    """Ours, without rights; not the model's plain name, which people give to accounts of their own."""
    return f"{model.metadata.name}-modelpress"
