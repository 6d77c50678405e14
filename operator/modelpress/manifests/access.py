"""Who pods are, and who may talk to them."""

from __future__ import annotations

from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import NETWORK_POLICY, SERVICE_ACCOUNT, Manifest
from modelpress.manifests import labels, metadata, names, serving


def service_account(model: CompressedModel) -> Manifest | None:
    """An account without rights and without a token, where the resource does not name one for all its pods."""
    if model.spec.jobs.pod.service_account_name and model.spec.serving.pod.service_account_name:
        return None
    return metadata.manifest(
        SERVICE_ACCOUNT, names.service_account(model), model, "server", automountServiceAccountToken=False
    )


def network_policy(model: CompressedModel) -> Manifest | None:
    """Only the serving and metrics ports are open: nobody reaches the server past the sidecar."""
    if model.spec.serving.network_policy == "None":
        return None
    ports = [{"protocol": "TCP", "port": port} for port in (serving.GRPC, serving.REST, serving.ADMIN)]
    spec = {
        "podSelector": {"matchLabels": labels.server_selector(model)},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": ports}],
    }
    return metadata.manifest(NETWORK_POLICY, names.server(model), model, "server", spec=spec)
