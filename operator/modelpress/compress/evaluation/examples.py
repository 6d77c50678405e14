"""What a model is measured on where the resource names no data: its own warm-up requests, else synthetic floats."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from modelpress.api import gate
from modelpress.api.artifact import ArtifactManifest
from modelpress.api.errors import Invalid
from modelpress.api.measurement import Evidence
from modelpress.api.request import Request
from modelpress.compress import dataset
from modelpress.compress.dataset import Rows
from modelpress.compress.evaluation import codec
from modelpress.compress.evaluation.scores import Array
from modelpress.compress.signature import Signature, Tensor
from modelpress.storage import layout

EVALUATION_SAMPLES = 10_000
SYNTHETIC_ROWS = 64
UNKNOWN_SIZE = 32
"""Size that stands for an axis of any size, the first one aside."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """Rows to measure on, and what they prove."""

    rows: Rows
    evidence: Evidence


def evaluation_rows(request: Request) -> Rows | None:
    """The rows of `spec.data.evaluation` that were not calibrated on; None where the resource has no such data.

    Raises Invalid where nothing is left to measure on.
    """
    if request.data is None or request.data.evaluation is None:
        return None
    rows = dataset.load(request.data.evaluation, role="evaluation", default_samples=EVALUATION_SAMPLES)
    return rows


def chosen(request: Request, manifest: ArtifactManifest, signature: Signature, rows: Rows | None) -> Examples:
    """`rows` as the signature takes them where there are any; else recorded requests; else synthetic ones.

    Raises Invalid where data and signature do not fit, `DataRequired` where examples cannot be guessed.
    """
    if rows is not None:
        labelled = any(metric.type in gate.LABELLED_METRICS for metric in request.gate.metrics)
        return Examples(dataset.bound(rows, signature, role="evaluation"), "Labelled" if labelled else "Unlabelled")
    found = None
    if manifest.warmup is not None and manifest.warmup.records:
        path = layout.opened(request.store, request.namespace).artifact(manifest.key) / manifest.warmup.path
        found = recorded(path, signature)
    return Examples(found, "WarmupRequests") if found else Examples(synthetic(signature), "Synthetic")


def recorded(path: Path, signature: Signature) -> Rows | None:
    """The rows of the Predict requests in a warm-up file that feed `signature`; None where there are none.

    Only requests of the first one's shapes are taken: rows of other shapes do not fit in one array.
    """
    found: list[dict[str, Array]] = []
    for record in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        if (request.model_spec.signature_name or "serving_default") == signature.name and request.inputs:
            found.append({name: codec.decoded(proto) for name, proto in request.inputs.items()})
    if not found:
        return None
    shapes = _shapes(found[0])
    alike = [inputs for inputs in found if _shapes(inputs) == shapes]
    inputs = {name: np.concatenate([one[name] for one in alike]) for name in found[0]}
    return Rows(inputs=inputs, targets={}, digest="")


def synthetic(signature: Signature, *, seed: int = 0) -> Rows:
    """Standard normal rows for float inputs; raises Invalid `DataRequired` for any other input."""
    random = np.random.default_rng(seed)
    inputs = {name: _synthetic(name, tensor, random) for name, tensor in signature.inputs.items()}
    return Rows(inputs=inputs, targets={}, digest="")


def _synthetic(name: str, tensor: Tensor, random: np.random.Generator) -> Array:
    if not tensor.is_float or tensor.shape is None:
        raise Invalid(
            "DataRequired",
            f"examples for the input {name} ({tensor}) cannot be guessed; "
            "set spec.data.evaluation, or save warm-up requests with the model (assets.extra)",
            field="spec.data.evaluation",
        )
    sizes = [UNKNOWN_SIZE if size is None else size for size in tensor.shape[1:]]
    return random.standard_normal((SYNTHETIC_ROWS, *sizes)).astype(tf.as_dtype(tensor.dtype).as_numpy_dtype)


def _shapes(inputs: dict[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape[1:] for name, array in inputs.items()}
