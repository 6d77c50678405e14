"""Runs a candidate once beside its source: same names and shapes, finite numbers, the same answer twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modelpress.api.artifact import Form
from modelpress.api.errors import Invalid
from modelpress.compress import flatbuffer, tflite
from modelpress.compress.dataset import Array, Rows
from modelpress.compress.model import OpenedModel

Call = Callable[[str, Mapping[str, Array]], dict[str, Array]]
"""(signature, inputs) -> outputs."""


@dataclass(frozen=True)
class Finding:
    """Why a candidate cannot be offered."""

    reason: str
    message: str


@dataclass(frozen=True)
class Reference:
    """A few inputs for each signature, and what the source answers to them."""

    inputs: dict[str, dict[str, Array]]
    outputs: dict[str, dict[str, Array]]
    repeatable: bool
    """Whether the source gave the same answers twice, bit by bit."""
    again: dict[str, dict[str, Array]] = field(default_factory=dict)
    """What it answered when it was asked once more."""


def reference(source: OpenedModel, rows: Mapping[str, Rows]) -> Reference:
    """Runs the source twice on the rows of each signature. Raises Invalid `SourceDoesNotRun`."""
    inputs = {name: found.inputs for name, found in rows.items()}
    first, second = ({name: _answered(source, name, fed) for name, fed in inputs.items()} for _ in range(2))
    return Reference(inputs, first, _equal(first, second), second)


def _answered(source: OpenedModel, name: str, fed: Mapping[str, Array]) -> dict[str, Array]:
    try:
        return source.call(name, fed)
    except Exception as error:  # a kernel raises whatever it raises
        rows = ", ".join(f"{key} {array.dtype} {list(array.shape)}" for key, array in fed.items())
        raise Invalid(
            "SourceDoesNotRun",
            f"the uncompressed model fails in signature {name} for {rows}: {_told(error)}; give data of the shapes "
            "that it takes, correct the model, or leave the signature out with spec.source.signatures",
            field="spec.source.signatures",
        ) from error


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__


def refusal(directory: Path, form: Form, expected: Reference, names: tuple[str, ...]) -> tuple[Finding | None, bool]:
    """What speaks against the servable in `directory`, and whether it gave the same answers twice."""
    try:
        call = loaded(directory, form, names)
        first, second = ({name: call(name, fed) for name, fed in expected.inputs.items()} for _ in range(2))
    except Exception as error:  # an interpreter raises whatever its kernels raise
        return Finding("DoesNotRun", f"it was built but does not run: {_told(error)}"), False
    repeatable = _equal(first, second)
    for name, outputs in expected.outputs.items():
        found = _difference(name, outputs, first[name])
        if found is not None:
            return found, repeatable
    if form != "TFLite":
        return None, repeatable
    return stumble((directory / tflite.FILE_NAME).read_bytes(), expected, names), repeatable


def stumble(content: bytes, expected: Reference, names: tuple[str, ...]) -> Finding | None:
    """Whether several inputs survive a change of the batch and of other sizes as the server makes it."""
    declared = flatbuffer.read_signatures(content)
    for name in names:
        fed = expected.inputs.get(name, {})
        if len(fed) < 2:
            continue
        sizes = [fed, *_other_sizes(declared[name], fed), fed]
        failure = tflite.resized_one_by_one(content, name, sizes)
        if failure is not None:
            return Finding(
                "SizesConflict",
                f"TensorFlow Serving resizes {', '.join(sorted(fed))} one by one and answers 'Failed to allocate "
                f"tensors' where the size of a batch changes ({failure[:200]})",
            )
    return None


def _other_sizes(declared: Any, fed: Mapping[str, Array]) -> list[dict[str, Array]]:
    """The inputs with fewer rows, and with less of every other axis whose size is open."""
    open_axes = {
        key: [axis for axis, dim in enumerate(declared.inputs[key].tensor_shape.dim) if dim.size < 0] for key in fed
    }
    rows = {key: array[: max(1, len(array) - 1)] if 0 in open_axes[key] else array for key, array in fed.items()}
    shorter = {key: _shortened(array, [axis for axis in open_axes[key] if axis]) for key, array in rows.items()}
    return [rows, shorter]


def _shortened(array: Array, axes: list[int]) -> Array:
    for axis in axes:
        array = array.take(range(max(1, array.shape[axis] // 2)), axis=axis)
    return array


def loaded(directory: Path, form: Form, names: tuple[str, ...]) -> Call:
    """A servable of either form, to be called by the names of its signatures."""
    if form == "TFLite":
        return tflite.Interpreter((directory / tflite.FILE_NAME).read_bytes()).call
    return OpenedModel(directory, names).call


def _difference(signature: str, expected: Mapping[str, Array], found: Mapping[str, Array]) -> Finding | None:
    if set(expected) != set(found):
        return Finding("OutputsDiffer", f"signature {signature} gives {sorted(found)}, the source {sorted(expected)}")
    broken = []
    for name, wanted in sorted(expected.items()):
        given = found[name]
        if wanted.shape != given.shape or wanted.dtype != given.dtype:
            return Finding(
                "OutputsDiffer",
                f"output {name} of signature {signature} is {given.dtype} {list(given.shape)}, "
                f"the source's {wanted.dtype} {list(wanted.shape)}",
            )
        if given.dtype.kind == "f" and np.isfinite(wanted).all() and not np.isfinite(given).all():
            broken.append(f"{name} has {int(given.size - np.isfinite(given).sum())} of {given.size}")
    if broken:
        return Finding(
            "NotFinite",
            f"NaN or infinite values in outputs of signature {signature}: {', '.join(broken)}; the source has none",
        )
    return None


def _equal(first: Mapping[str, Mapping[str, Array]], second: Mapping[str, Mapping[str, Array]]) -> bool:
    return all(
        np.array_equal(array, second[name][key], equal_nan=array.dtype.kind == "f")
        for name, outputs in first.items()
        for key, array in outputs.items()
    )
