"""Clustering: the weights of a layer share few values, so that the model compresses well on its way to the server."""

from __future__ import annotations

import numpy as np

from modelpress.api.recipe import Cluster
from modelpress.compress import graph
from modelpress.compress.dataset import Array
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps import sharing
from modelpress.compress.steps.step import Changed, Setting
from modelpress.compress.training import weights


def apply(opened: OpenedModel, step: Cluster, setting: Setting) -> Changed:
    """Replaces the weights of every kernel and table in place by `clusters` values, found for each by k-means.

    Biases, norms and tensors with no more weights than clusters are left alone; zeros of earlier pruning stay zero.
    Raises Invalid `StepCannotApply`, `UnknownLayer`.
    """
    variables = opened.variables()
    found: dict[int, Array] = {}
    chosen = weights.chosen(variables, graph.kernels(opened), step.exclude_layers, field=setting.field)
    with setting.progress.step("Clustering", total=len(chosen)) as shown:
        for place, variable in chosen.items():
            value = variable.numpy()
            if value.size > step.clusters:
                pruned = place in setting.masks and not setting.masks[place].all()
                given, found[place] = sharing.shared(value, step.clusters, keep_zeros=pruned)
                variable.assign(given)
            shown.advance()
    count = sum(numbers.size for numbers in found.values())
    bits = int(np.ceil(np.log2(step.clusters)))
    note = (
        f"cluster: {count:,} weights of {len(found)} tensors share {step.clusters} values each ({bits} bits a weight)"
    )
    return Changed(note, clusters=found)
