"""What pods may look like: `spec.commonMetadata`, `spec.commonPod`, `spec.jobs.pod` and `spec.serving.pod`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from modelpress.api.base import Model
from modelpress.api.quantity import Quantity
from modelpress.api.rules import Rule, checked, extra
from modelpress.api.scalar import AnnotationValue, Int64, LabelKey, LabelValue, ObjectName

ATOMIC: dict[str, Any] = {"x-kubernetes-map-type": "atomic"}
BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
Id = Annotated[Int64, Field(ge=1, le=2**32 - 2)]

_NOT_OURS = "!k.startsWith('modelpress.dev/') && !k.startsWith('argocd.argoproj.io/')"
_RESERVED_LABELS = Rule(
    f"self.all(k, {_NOT_OURS} && !(k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance',"
    " 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by', 'app.kubernetes.io/version']))",
    "labels below modelpress.dev/ and argocd.argoproj.io/, and"
    " app.kubernetes.io/{name,instance,component,managed-by,version}, are set by the operator: take another prefix",
)
_RESERVED_ANNOTATIONS = Rule(
    f"self.all(k, {_NOT_OURS})",
    "annotations below modelpress.dev/ and argocd.argoproj.io/ are set by the operator: take another prefix",
)
_KEYS = Rule(
    "self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
    "a key is a name of letters, digits, -, _ and . (at most 63), perhaps after a domain and a slash: rename the"
    " others",
)
Labels = Annotated[dict[str, LabelValue], Field(max_length=32, json_schema_extra=extra(_RESERVED_LABELS, _KEYS))]
Annotations = Annotated[
    dict[str, AnnotationValue], Field(max_length=32, json_schema_extra=extra(_RESERVED_ANNOTATIONS, _KEYS))
]


OWN_PLACES = (
    *("/models", "/artifacts", "/cache", "/tmp", "/etc/modelpress", "/opt/modelpress"),  # noqa: S108 - no file is made
    *("/run/modelpress", "/run/secrets", "/var/run/modelpress", "/var/run/secrets"),
)
"""Mounted or written by the operator's own containers; nothing may be mounted there or below."""
SYSTEM_PLACES = ("/dev", "/proc", "/sys", "/bin", "/sbin", "/lib", "/lib64", "/usr")
"""What programs run on; but for CA bundles nothing of the user's belongs there, and those can lie anywhere."""
PARENTS = ("/", "/etc", "/opt", "/run", "/var", "/var/run")
"""A mount here would hide all of it; below, only what is named above is reserved."""
RESERVED_VARIABLES = ("PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")


def _quoted(words: tuple[str, ...]) -> str:
    """A list of CEL strings."""
    return ", ".join(f"'{word}'" for word in words)


class LocalRef(Model):
    """An object of this namespace, by name."""

    model_config = {"json_schema_extra": ATOMIC}

    name: ObjectName = Field(description="Name of the object in this namespace.")


class SecretRef(LocalRef):
    """A Secret of this namespace."""


class ConfigMapRef(LocalRef):
    """A ConfigMap of this namespace."""


class CommonMetadata(Model):
    """For every object and pod made for this model, e.g. cost allocation."""

    labels: Labels = Field(default_factory=dict, description="Labels of every object and pod.")
    annotations: Annotations = Field(default_factory=dict, description="Annotations of every object and pod.")


class SecurityContext(Model):
    """Ids only; everything else stays at Pod Security `restricted`."""

    run_as_user: Id | None = Field(
        default=None, description="User id. Default: 65532, or the platform's choice on OpenShift."
    )
    run_as_group: Id | None = Field(default=None, description="Group id. Default: 65532.")
    fs_group: Id | None = Field(default=None, description="Group of volumes. Default: 65532.")
    supplemental_groups: tuple[Id, ...] = Field(
        default_factory=tuple, max_length=8, description="Further groups. Absent: none."
    )


class EnvVar(Model):
    """A literal environment variable."""

    model_config = checked(
        Rule(
            "!self.name.startsWith('MODELPRESS_')",
            "variables that begin with MODELPRESS_ are the operator's: take another name",
            field=".name",
            says="self.name + ': variables that begin with MODELPRESS_ are the operator\\'s: take another name'",
        ),
        Rule(
            f"!(self.name in [{_quoted(RESERVED_VARIABLES)}])",
            f"{', '.join(RESERVED_VARIABLES)} decide what a container runs: leave them out",
            field=".name",
            says="self.name + ' decides what a container runs: leave it out'",
        ),
    )

    name: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(description="Name.")
    value: Annotated[str, Field(max_length=4096)] = Field(description="Value, in the clear.")


class MountedVolume(Model):
    """A ConfigMap or a Secret, mounted read-only."""

    model_config = checked(
        Rule("has(self.configMap) != has(self.secret)", "set exactly one of configMap and secret"),
        Rule(
            f"![{_quoted(OWN_PLACES)}].exists(p, self.mountPath == p || self.mountPath.startsWith(p + '/'))",
            f"mountPath is a place of the operator's ({', '.join(OWN_PLACES)}): take another one",
            field=".mountPath",
            says=f"self.mountPath + ' is a place of the operator\\'s ({', '.join(OWN_PLACES)}): take another one'",
        ),
        Rule(
            f"![{_quoted(SYSTEM_PLACES)}].exists(p, self.mountPath == p || self.mountPath.startsWith(p + '/'))"
            f" && !(self.mountPath in [{_quoted(PARENTS)}])",
            "mountPath hides what a container runs on: take another one, e.g. below /etc or /mnt",
            field=".mountPath",
            says="self.mountPath + ' hides what a container runs on: take another one, e.g. below /etc or /mnt'",
        ),
        Rule(
            "!self.mountPath.contains('//') && !self.mountPath.matches('/[.][.]?(/|$)')"
            " && (self.mountPath == '/' || !self.mountPath.endsWith('/'))",
            "mountPath must be written plainly: without //, /./, /../ and a slash at its end",
            field=".mountPath",
            says="self.mountPath + ' must be written plainly: without //, /./, /../ and a slash at its end'",
        ),
    )

    name: Annotated[str, Field(max_length=50, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] = Field(
        description="Name of the volume."
    )
    mount_path: Annotated[str, Field(max_length=253, pattern=r"^/[^:]*$")] = Field(description="Absolute path.")
    config_map: ConfigMapRef | None = Field(default=None, description="The ConfigMap. Either this or secret.")
    secret: SecretRef | None = Field(default=None, description="The Secret. Either this or configMap.")


class CommonPod(Model):
    """For every pod made for this model."""

    image_pull_secrets: tuple[SecretRef, ...] = Field(
        default_factory=tuple,
        max_length=8,
        description="Secrets of type kubernetes.io/dockerconfigjson; added to the operator's. Absent: none.",
        json_schema_extra=BY_NAME,
    )
    security_context: SecurityContext = Field(
        default_factory=SecurityContext, description="Ids only; everything else stays at Pod Security `restricted`."
    )
    env: tuple[EnvVar, ...] = Field(
        default_factory=tuple,
        max_length=32,
        description="For every container, e.g. proxies; secrets go through secretRef. Absent: none.",
        json_schema_extra=BY_NAME,
    )
    volumes: tuple[MountedVolume, ...] = Field(
        default_factory=tuple,
        max_length=8,
        description="Mounted read-only into every container, e.g. a CA bundle. Absent: none.",
        json_schema_extra=BY_NAME,
    )


class NodeExpression(Model):
    """As in a pod."""

    key: LabelKey = Field(description="Label of the node.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(description="How to compare.")
    values: tuple[Annotated[str, Field(max_length=63)], ...] | None = Field(
        default=None, max_length=32, description="What to compare with; none for Exists and DoesNotExist."
    )


class NodeSelectorTerm(Model):
    """As in a pod."""

    match_expressions: tuple[NodeExpression, ...] | None = Field(
        default=None, max_length=16, description="All must hold."
    )


class PreferredNode(Model):
    """As in a pod."""

    weight: int = Field(ge=1, le=100, description="1 to 100.")
    preference: NodeSelectorTerm = Field(description="Which nodes.")


class RequiredNode(Model):
    """As in a pod."""

    node_selector_terms: tuple[NodeSelectorTerm, ...] = Field(min_length=1, max_length=8, description="One must hold.")


class NodeAffinity(Model):
    """As in a pod."""

    required_during_scheduling_ignored_during_execution: RequiredNode | None = Field(
        default=None, description="Nodes must match. Absent: any node."
    )
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredNode, ...] | None = Field(
        default=None, max_length=8, description="Nodes that match are preferred. Absent: none."
    )


class Affinity(Model):
    """Node affinity as in a pod."""

    node_affinity: NodeAffinity | None = Field(default=None, description="Node affinity as in a pod.")


class Toleration(Model):
    """As in a pod."""

    key: LabelKey | None = Field(default=None, description="Key of the taint. Absent: every taint, with Exists.")
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="Default: Equal.")
    value: Annotated[str, Field(max_length=63)] | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint. Absent: all."
    )
    toleration_seconds: Int64 | None = Field(
        default=None, description="How long NoExecute is tolerated. Absent: always."
    )


class TopologySpreadConstraint(Model):
    """As in a pod; the selector is the operator's."""

    max_skew: int = Field(ge=1, le=100, description="Most by which places may differ.")
    topology_key: LabelKey = Field(description="Node label that names places.")
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(description="What then.")


class Pod(Model):
    """Where pods run and who they are."""

    labels: Labels = Field(default_factory=dict, description="Pod labels, e.g. azure.workload.identity/use.")
    annotations: Annotations = Field(
        default_factory=dict, description="Pod annotations, e.g. for a mesh or a log collector."
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="For workload identity; its token is not mounted. Absent: one made for this model, without rights.",
    )
    priority_class_name: ObjectName | None = Field(default=None, description="Priority class. Absent: the cluster's.")
    runtime_class_name: ObjectName | None = Field(default=None, description="Runtime class, e.g. nvidia. Absent: none.")
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16, json_schema_extra=extra(_KEYS))] = Field(
        default_factory=dict,
        description="Node labels; kubernetes.io/arch is amd64 while an image is the operator's and none is named.",
    )
    affinity: Affinity | None = Field(default=None, description="Node affinity as in a pod. Absent: none.")
    tolerations: tuple[Toleration, ...] = Field(
        default_factory=tuple, max_length=16, description="As in a pod. Absent: none."
    )


class ServingPod(Pod):
    """The same, and how serving pods spread."""

    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] | None = Field(
        default=None,
        max_length=4,
        description="As in a pod; the selector is the operator's. Absent: zones and nodes, ScheduleAnyway.",
    )


class Resources(Model):
    """Requests and limits of a container."""

    model_config = checked(
        Rule(
            "!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits)"
            " || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",
            "requests must not exceed limits: lower the requests, or raise the limits",
            field=".requests",
        )
    )

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(
        default_factory=dict, description="What is reserved."
    )
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(
        default_factory=dict,
        description="What is allowed. Threads and TFLite pools follow limits.cpu, else requests.cpu, else 2; never"
        " the node.",
    )
