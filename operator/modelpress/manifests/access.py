"""Who pods are, and who may talk to them."""

from __future__ import annotations

from modelpress.api.base import GROUP
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import NETWORK_POLICY, SERVICE_ACCOUNT, Manifest
from modelpress.manifests import labels, metadata, names, serving
from modelpress.manifests.installation import Installation

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Set by the API server on every namespace."""
METRICS_LABEL = f"{GROUP}/metrics"
"""`true` on a namespace whose pods scrape metrics."""


def service_account(model: CompressedModel) -> Manifest | None:
    """An account without rights and without a token, where the resource does not name one for all its pods."""
    if model.spec.jobs.pod.service_account_name and model.spec.serving.pod.service_account_name:
        return None
    return metadata.manifest(
        SERVICE_ACCOUNT, names.service_account(model), model, "server", automountServiceAccountToken=False
    )


def network_policy(model: CompressedModel, installation: Installation) -> Manifest | None:
    """Only the serving ports are open to everyone: nobody reaches the server past the sidecar.

    The sidecar's admin port has the metrics, but also drains: it is for the operator and for those who scrape. Probes
    and preStop hooks come from the pod's own node, which no policy keeps out.
    """
    if model.spec.serving.network_policy == "None":
        return None
    trusted = [{NAMESPACE_NAME_LABEL: installation.namespace}, {METRICS_LABEL: "true"}]
    rules = [
        {"ports": _ports(serving.GRPC, serving.REST)},
        {
            "from": [{"namespaceSelector": {"matchLabels": wanted}} for wanted in trusted],
            "ports": _ports(serving.ADMIN),
        },
    ]
    spec = {
        "podSelector": {"matchLabels": labels.server_selector(model)},
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }
    return metadata.manifest(NETWORK_POLICY, names.server(model), model, "server", spec=spec)


def _ports(*numbers: int) -> list[Manifest]:
    return [{"protocol": "TCP", "port": number} for number in numbers]
