"""The one table of Kubernetes kinds that the operator deals with: watched or not, and with which rights."""

from __future__ import annotations

from typing import Any, NamedTuple

from modelpress.api import base

Manifest = dict[str, Any]

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "modelpress"
MODEL_LABEL = f"{base.GROUP}/compressedmodel"
"""On every child and pod: the name of the CompressedModel that it belongs to."""

KEPT_VERBS = ("create", "list", "patch", "watch")
"""On children that hold results: only the garbage collector deletes them, with their model."""
CHILD_VERBS = (*KEPT_VERBS, "delete")


class Kind(NamedTuple):
    """One kind: its place in the API, and what the operator may do with it."""

    group: str
    version: str
    plural: str
    kind: str
    verbs: tuple[str, ...]
    watched: bool = True
    """Listed and watched by the operator (children and pods by the managed-by label)."""
    subresources: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Subresource and the verbs needed on it."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Path of one object, of a namespace's collection, or (neither given) of the cluster's collection."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, *(("namespaces", namespace) if namespace else ()), self.plural, *((name,) if name else ())]
        return "/".join(parts)


MODEL = Kind(
    base.GROUP,
    base.VERSION,
    "compressedmodels",
    base.KIND,
    ("get", "list", "watch"),
    subresources=(("status", ("patch",)),),
)
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment", CHILD_VERBS)
JOB = Kind("batch", "v1", "jobs", "Job", CHILD_VERBS)
SERVICE = Kind("", "v1", "services", "Service", CHILD_VERBS)
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", CHILD_VERBS)
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount", CHILD_VERBS)
VOLUME_CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", KEPT_VERBS)
AUTOSCALER = Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", CHILD_VERBS)
DISRUPTION_BUDGET = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", CHILD_VERBS)
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", CHILD_VERBS)
POD = Kind("", "v1", "pods", "Pod", ("list", "watch"))
EVENT = Kind("events.k8s.io", "v1", "events", "Event", ("create", "patch"), watched=False)
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease", ("create", "get", "update"), watched=False)

CHILDREN = (
    DEPLOYMENT,
    JOB,
    SERVICE,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    VOLUME_CLAIM,
    AUTOSCALER,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
)
"""Kinds that the operator creates for a CompressedModel."""

OWNED = (*CHILDREN, POD)
"""Kinds watched by the managed-by label: the children, and the pods of Deployments and Jobs."""

WATCHED = (MODEL, *OWNED)
WORKING = (*WATCHED, EVENT)
"""Kinds that the operator needs where the models are; the Lease lies in the operator's own namespace."""

OTHERS = (
    Kind("", "v1", "namespaces", "Namespace", (), watched=False),
    Kind("", "v1", "nodes", "Node", (), watched=False),
    Kind("", "v1", "secrets", "Secret", (), watched=False),
    Kind("apps", "v1", "replicasets", "ReplicaSet", (), watched=False),
    Kind("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", (), watched=False),
    Kind("rbac.authorization.k8s.io", "v1", "roles", "Role", (), watched=False),
    Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", (), watched=False),
    Kind("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", (), watched=False),
    Kind("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", (), watched=False),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", (), watched=False),
)
"""Kinds that the client can address, though the operator's role gives no right on them."""

_BY_KIND = {kind.kind: kind for kind in (*WORKING, LEASE, *OTHERS)}


def named(kind: str) -> Kind:
    """The entry of a kind such as `Deployment`; KeyError for one that is not in the table."""
    return _BY_KIND[kind]
