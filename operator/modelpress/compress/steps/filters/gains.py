"""By how much normalisation scales each filter's output: a norm says little of a kernel that is scaled afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters.channels import Gain, Weights, canonical


def scaled(
    graph: Any, gains: Mapping[str, Gain], weights: Iterable[Weights], values: Mapping[str, Array]
) -> dict[str, Array]:
    """`values` of weights, by name, with every filter times what its channel is multiplied by (Liu et al. 2017)."""
    wanted = {one.name: one for one in weights if one.node in gains}
    tensors = sorted({canonical(name) for one in wanted.values() for name in _tensors(gains[one.node])})
    computed = _computed(graph, tensors)
    found = dict(values)
    for name, one in wanted.items():
        factor = _factor(gains[one.node], computed)
        if len(factor) == len(one.labels):
            moved = np.moveaxis(values[name], one.axis, -1) * factor
            found[name] = np.moveaxis(moved, -1, one.axis)
    return found


def _tensors(gain: Gain) -> list[str]:
    return [gain.scale] if gain.variance is None else [gain.scale, gain.variance]


def _factor(gain: Gain, computed: Mapping[str, Array]) -> Array:
    scale = computed[canonical(gain.scale)].reshape(-1)
    if gain.variance is None:
        return scale
    divided: Array = scale / np.sqrt(computed[canonical(gain.variance)].reshape(-1) + gain.epsilon)
    return divided


def _computed(graph: Any, tensors: list[str]) -> dict[str, Array]:
    with tf.Graph().as_default():
        tf.graph_util.import_graph_def(graph, name="")
        with tf.compat.v1.Session() as session:
            return dict(zip(tensors, session.run(tensors), strict=True))
