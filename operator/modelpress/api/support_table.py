"""The rows behind `support`: one for every block that is honoured, and one for every value that is not (yet)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from modelpress.api.rules import Where

Verdict = Literal["Honoured", "Reported", "Refused"]
NOT_SUPPORTED = "FieldNotSupported"
IGNORED = "FieldsIgnored"


class Row(NamedTuple):
    """What is made of a field, or of all fields below it, in a cluster and locally."""

    path: str
    """List items are `[]`."""
    cluster: Verdict
    local: Verdict
    why: str = ""
    """Half a sentence."""
    cure: str = ""
    """What to do instead, half a sentence."""
    values: Callable[[Any], bool] | None = None
    """Values the row is about; None: any but the default."""
    shown_values: str = ""
    """The same in words."""
    reason: str = NOT_SUPPORTED

    def verdict(self, where: Where) -> Verdict:
        """The verdict in a cluster, or locally."""
        return self.cluster if where == "Cluster" else self.local

    def covers(self, leaf: str) -> bool:
        """Whether a leaf is the field itself or lies below it."""
        return leaf == self.path or leaf.startswith((self.path + ".", self.path + "[]."))


def _honoured(*paths: str) -> tuple[Row, ...]:
    return tuple(Row(path, "Honoured", "Honoured") for path in paths)


def _refused(path: str, why: str, cure: str, *values: Any, reason: str = NOT_SUPPORTED) -> Row:
    """Refused everywhere: these values, or any but the default."""
    about = (lambda value: value in values) if values else None
    return Row(path, "Refused", "Refused", why, cure, about, ", ".join(str(value) for value in values), reason)


def _cluster_only(*paths: str) -> tuple[Row, ...]:
    why = "only a cluster can honour it, `modelpress run` goes on without"
    return tuple(Row(path, "Honoured", "Reported", why, reason=IGNORED) for path in paths)


def _scheme(uri: Any) -> str:
    return str(uri).split(":", 1)[0] if ":" in str(uri) else ""


def _schemes(path: str) -> tuple[Row, Row]:
    """Only claims in a cluster; claims, files and paths locally."""
    return (
        Row(
            path,
            "Refused",
            "Honoured",
            "this release reads and writes pvc://claim/path in a cluster",
            "copy it into a PersistentVolumeClaim and write pvc://claim/path",
            lambda uri: _scheme(uri) != "pvc",
            "s3, gs, az, http, https, hf, oci, file, paths",
            "UnsupportedScheme",
        ),
        Row(
            path,
            "Honoured",
            "Refused",
            "this release reads and writes paths, file: and pvc:// locally",
            "copy it to this machine and write its path",
            lambda uri: _scheme(uri) not in ("pvc", "file", ""),
            "s3, gs, az, http, https, hf, oci",
            "UnsupportedScheme",
        ),
    )


def _unneeded(*paths: str) -> tuple[Row, ...]:
    why = "claims, files and paths need no credentials, so this Secret is not read"
    return tuple(Row(path, "Reported", "Reported", why, "leave it out", reason=IGNORED) for path in paths)


_SOURCE = (
    *_honoured("spec.source.format", "spec.source.digest", "spec.source.signatures", "spec.source.trust"),
    *_schemes("spec.source.uri"),
    _refused(
        "spec.source.format",
        "this release reads SavedModel and Keras",
        "save the model as one of them",
        *("KerasHDF5", "FrozenGraph", "TFLite"),
        reason="UnsupportedFormat",
    ),
    _refused(
        "spec.source.trust",
        "this release runs no code of models",
        "save the model as a SavedModel, which needs none, and set trust: DataOnly",
        "Code",
    ),
    *_unneeded("spec.source.secretRef"),
)


def _data_set(path: str) -> tuple[Row, ...]:
    return (
        *_honoured(f"{path}.format", f"{path}.signature", f"{path}.samples", f"{path}.columns"),
        *_schemes(f"{path}.uri"),
        _refused(
            f"{path}.format",
            "this release reads NPZ",
            "save the rows with numpy.savez and set format: NPZ",
            *("TFRecord", "CSV", "Parquet", "PredictionLog"),
            reason="UnsupportedFormat",
        ),
        *_unneeded(f"{path}.secretRef"),
    )


_STEPS = "spec.recipe.steps[]"
_AT_ONCE = "no step of this release trains while it compresses"
_NO_LEARNING_RATE = "nothing is trained without epochs, so it has no effect"
_NAMES = "this release quantizes all layers alike"

_RECIPE = (
    *_honoured("spec.recipe.format", f"{_STEPS}.fineTune"),
    *_honoured(*(f"{_STEPS}.prune.{name}" for name in ("threshold", "sparsity", "maxSparsity", "excludeLayers"))),
    *_honoured(*(f"{_STEPS}.prune.{name}" for name in ("criterion", "structure", "epochs"))),
    *_honoured(
        *(f"{_STEPS}.quantize.{name}" for name in ("scheme", "epochs", "weights", "activations", "granularity"))
    ),
    *_honoured("spec.recipe.training", "spec.recipe.iterations"),
    _refused(
        "spec.recipe.search", "this release tries a fixed ladder of recipes", "leave out search and steps to get it"
    ),
    _refused("spec.recipe.iterations", "this release runs the steps once", "leave it out"),
    _refused(
        f"{_STEPS}.prune.criterion",
        "this release knows the criterion Magnitude",
        "use it, or leave it out",
        *("L1", "L2", "Gradient", "Relative"),
    ),
    _refused(
        f"{_STEPS}.prune.structure",
        "this release prunes single weights",
        "use structure: Unstructured",
        *("TwoOfFour", "Filter"),
    ),
    Row(
        f"{_STEPS}.prune.epochs",
        "Refused",
        "Refused",
        _AT_ONCE,
        "leave epochs out and add a fineTune step after it",
        lambda epochs: epochs > 0,
        "above 0",
    ),
    Row(
        f"{_STEPS}.prune.learningRate",
        "Reported",
        "Reported",
        _NO_LEARNING_RATE,
        "leave it out",
        lambda rate: rate != 1e-4,
        reason=IGNORED,
    ),
    _refused(f"{_STEPS}.cluster", "this release does not cluster weights", "leave the step out"),
    _refused(f"{_STEPS}.distill", "this release does not distill", "leave the step out"),
    _refused(
        f"{_STEPS}.quantize.scheme",
        "this release knows DynamicInt8, StaticInt8 and Float16",
        "use one of them",
        *("Int4Weights", "BFloat16", "Mixed"),
    ),
    _refused(
        f"{_STEPS}.quantize.weights", "this release quantizes weights symmetrically", "leave it out", "Asymmetric"
    ),
    _refused(
        f"{_STEPS}.quantize.activations",
        "this release quantizes activations asymmetrically",
        "leave it out",
        "Symmetric",
    ),
    Row(
        f"{_STEPS}.quantize.epochs",
        "Refused",
        "Refused",
        _AT_ONCE,
        "leave epochs out, and give data.calibration",
        lambda epochs: epochs > 0,
        "above 0",
    ),
    Row(
        f"{_STEPS}.quantize.learningRate",
        "Reported",
        "Reported",
        _NO_LEARNING_RATE,
        "leave it out",
        lambda rate: rate != 1e-4,
        reason=IGNORED,
    ),
    Row(f"{_STEPS}.quantize.excludeLayers", "Refused", "Refused", _NAMES, "leave it out", bool),
)

_GATE = (
    *_honoured("spec.gate"),
    _refused(
        "spec.gate.metrics[].type",
        "this release does not compute it",
        "use Accuracy or F1, which read the same labels",
        "AUC",
    ),
)

_ARTIFACTS = (
    *_schemes("spec.artifacts.uri"),
    *_unneeded("spec.artifacts.secretRef"),
    *_cluster_only("spec.artifacts.volume"),
)

_JOBS = (
    *_cluster_only(
        *(f"spec.jobs.{name}" for name in ("image", "resources", "timeout", "retries", "ttlAfterFinished", "pod"))
    ),
    _refused("spec.jobs.workers", "this release trains on one worker", "leave it out"),
    Row(
        "spec.jobs.queueName",
        "Refused",
        "Reported",
        "this release hands no Jobs to Kueue",
        "leave it out",
    ),
    _refused("spec.jobs.profile", "this release writes no profiler trace", "leave it out"),
)

_SERVING = (
    *_honoured(*(f"spec.serving.{name}" for name in ("modelName", "batching", "warmup", "requestTimeout"))),
    *_honoured("spec.serving.resources.limits"),
    *_cluster_only(
        *(f"spec.serving.{name}" for name in ("image", "replicas", "podDisruptionBudget", "networkPolicy", "pod")),
        *("spec.serving.resources.requests", "spec.serving.sidecar.resources"),
    ),
)

_CACHE = (
    *_honoured("spec.cache.mode", "spec.cache.policy", "spec.cache.memory", "spec.cache.ttl"),
    Row(
        "spec.cache.mode",
        "Reported",
        "Reported",
        "works like Enabled in this release: it does not switch itself off",
        "set Enabled or Disabled to choose",
        lambda mode: mode == "Auto",
        "Auto",
        IGNORED,
    ),
    _refused("spec.cache.policy", "this release evicts by LRU", "use policy: LRU", "LFU", "TinyLFU"),
    _refused("spec.cache.disk", "this release caches in memory", "leave it out, or raise cache.memory.size"),
    _refused("spec.cache.redis", "this release caches in memory", "leave it out, or raise cache.memory.size"),
    _refused("spec.cache.prefetch", "this release fills the cache by requests only", "leave it out"),
)

_CONCURRENCY = (
    *_honoured("spec.concurrency.mode", "spec.concurrency.limit", "spec.concurrency.queue"),
    _refused("spec.concurrency.mode", "the limit of this release is fixed", "use mode: Fixed and set limit", "Elastic"),
    _refused("spec.concurrency.min", "the limit of this release is fixed", "leave it out"),
)

_AUTOSCALING = (
    *_cluster_only("spec.autoscaling"),
    Row(
        "spec.autoscaling.metric",
        "Refused",
        "Honoured",
        "this release scales on CPU",
        "use metric: CPU",
        lambda metric: metric == "Concurrency",
        "Concurrency",
    ),
    Row(
        "spec.autoscaling.provider",
        "Refused",
        "Honoured",
        "this release makes HorizontalPodAutoscalers",
        "use provider: HPA",
        lambda provider: provider == "KEDA",
        "KEDA",
    ),
)

_ROLLOUT = (
    *_cluster_only(
        *(f"spec.rollout.{name}" for name in ("approval", "maxSurge", "maxUnavailable", "progressDeadline"))
    ),
    Row(
        "spec.rollout.approval",
        "Refused",
        "Reported",
        "this release promotes what passed the gate by itself",
        "use approval: Automatic, or suspend: true to hold rollouts",
        lambda approval: approval == "Manual",
        "Manual",
    ),
    Row("spec.rollout.shadow", "Refused", "Reported", "this release mirrors no requests", "leave it out"),
    Row("spec.rollout.canary", "Refused", "Reported", "this release rolls out on readiness", "leave it out"),
)

ROWS: tuple[Row, ...] = (
    *_SOURCE,
    *(row for role in ("evaluation", "calibration", "training") for row in _data_set(f"spec.data.{role}")),
    *_RECIPE,
    *_GATE,
    *_ARTIFACTS,
    *_cluster_only("spec.commonMetadata", "spec.commonPod"),
    *_JOBS,
    *_SERVING,
    *_CACHE,
    *_CONCURRENCY,
    *_AUTOSCALING,
    *_ROLLOUT,
    *_cluster_only("spec.revisionHistoryLimit", "spec.suspend"),
)
"""In the order in which findings are told."""
