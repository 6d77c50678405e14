"""A model's signatures in the form a request needs: plain mappings, computed once when a version loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelpress.server import tensors

DEFAULT = "serving_default"
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """One entry point of a model; aliases are sorted."""

    name: str
    method: str
    inputs: Mapping[str, str]
    """Alias to tensor name."""
    input_types: Mapping[str, int]
    """Alias to DataType number."""
    outputs: Mapping[str, str]
    """Alias to tensor name."""
    defaults: Mapping[str, np.ndarray[Any, Any]]
    """Values of inputs that may be left out."""
    definition: Any
    """The SignatureDef."""
    feeds: tuple[str, ...]
    """Tensor names of all inputs, in the order of `inputs`."""
    fetches: tuple[str, ...]
    """Tensor names of all outputs, in the order of `outputs`."""


def read(name: str, definition: Any) -> Signature:
    """From a SignatureDef."""
    inputs = {alias: definition.inputs[alias].name for alias in sorted(definition.inputs)}
    outputs = {alias: definition.outputs[alias].name for alias in sorted(definition.outputs)}
    return Signature(
        name=name,
        method=definition.method_name,
        inputs=inputs,
        input_types={alias: definition.inputs[alias].dtype for alias in inputs},
        outputs=outputs,
        defaults={alias: tensors.decode(proto) for alias, proto in definition.defaults.items()},
        definition=definition,
        feeds=tuple(inputs.values()),
        fetches=tuple(outputs.values()),
    )
