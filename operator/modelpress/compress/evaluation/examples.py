"""What a model is measured on where the resource names no data: its own warm-up requests, else synthetic floats."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
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
from modelpress.storage import fetch, layout, listing

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
    """The rows of `spec.data.evaluation` that the engine has not looked at; None where the resource has no such data.

    Raises Invalid.
    """
    if request.data is None or request.data.evaluation is None:
        return None
    rows = dataset.load(request.data.evaluation, role="evaluation", default_samples=EVALUATION_SAMPLES)
    return rows.part(_seen(request, len(rows)))


def _seen(request: Request, available: int) -> int:
    """How many first rows the engine calibrated, chose or solved on: 0 where it had other data, or needed none."""
    from modelpress.compress import plan
    from modelpress.compress.examples import reserved_rows

    data = request.data
    if data is None or data.calibration is not None or data.training is not None:
        return 0
    wanted = plan.of_recipe(request.recipe, device=request.target.device)
    return reserved_rows(available) if plan.looks_at_rows(wanted) else 0


def chosen(request: Request, manifest: ArtifactManifest, signature: Signature, rows: Rows | None) -> Examples:
    """`rows` as the signature takes them where there are any; else recorded requests; else synthetic ones.

    Raises Invalid where data and signature do not fit, `DataRequired` where examples cannot be guessed.
    """
    if rows is not None:
        labelled = any(metric.type in gate.LABELLED_METRICS for metric in request.gate.metrics)
        return Examples(dataset.bound(rows, signature, role="evaluation"), "Labelled" if labelled else "Unlabelled")
    for path in _recordings(request, manifest):
        found = recorded(path, signature) if path.is_file() else None
        if found is not None:
            return Examples(found, "WarmupRequests")
    return Examples(synthetic(signature), "Synthetic")


def _recordings(request: Request, manifest: ArtifactManifest) -> Iterator[Path]:
    """Files of warm-up requests: the model's own first."""
    store = layout.opened(request.store, request.namespace)
    yield store.file(manifest.key, f"{manifest.source.servable.path}/{listing.EXTRA}/{fetch.WARMUP_FILE}")
    if manifest.warmup is not None:
        yield store.file(manifest.key, manifest.warmup.path)


def recorded(path: Path, signature: Signature) -> Rows | None:
    """The rows of the Predict requests in a warm-up file that feed `signature`; None where there are none.

    Only requests of the first one's shapes are taken: rows of other shapes do not fit in one array.
    """
    found: list[dict[str, Array]] = []
    for record in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        if (request.model_spec.signature_name or "serving_default") == signature.name and request.inputs:
            inputs = {name: codec.decoded(proto) for name, proto in request.inputs.items()}
            found += [inputs] if all(array.ndim for array in inputs.values()) else []
    if not found:
        return None
    shapes = _shapes(found[0])
    alike = [inputs for inputs in found if _shapes(inputs) == shapes]
    columns = {name: np.concatenate([one[name] for one in alike]) for name in found[0]}
    return Rows(inputs=columns, targets={}, digest="")


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
