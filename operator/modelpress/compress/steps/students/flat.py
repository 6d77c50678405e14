"""A model as one flat graph from which any inner tensor can be had; its weights are constants, or variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from modelpress.compress import graph, lifting
from modelpress.compress.graph import FrozenGraph
from modelpress.compress.model import OpenedModel


def variables(opened: OpenedModel, frozen: FrozenGraph) -> dict[str, bool]:
    """Constants of the frozen graph that were variables -> whether those are trained."""
    known = {variable.name.split(":")[0]: bool(variable.trainable) for variable in opened.variables()}
    found = {}
    for node in frozen.graph.node:
        name = node.name if node.name in known else re.sub(r"_\d+$", "", node.name)
        if node.op == "Const" and name in known:
            found[node.name] = known[name]
    return found or lifting.weights(frozen.graph)


def rewrite(opened: OpenedModel, directory: Path) -> None:
    """Writes the model, its variables as they are now, as SavedModel whose bytes depend on nothing else.

    Raises graph.NotFreezable.
    """
    frozen = graph.freeze(opened, merge_weights=False)
    lifting.write(frozen, variables(opened, frozen), directory)


class Tapped:
    """A signature that gives inner tensors beside its outputs."""

    def __init__(self, function: Any, inputs: Sequence[str], names: Sequence[str]) -> None:
        self._function, self._inputs, self._names = function, list(inputs), list(names)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name, inner tensors by the names that they were asked for under. Traced."""
        answers = self._function(*(inputs[name] for name in self._inputs))
        return dict(zip(self._names, answers, strict=True))


def tapped(owner: Any, definition: Any, taps: Mapping[str, str]) -> Tapped:
    """`owner` has all nodes and a method `prune`: a SavedModel written by `lifting`, or `constant`.

    `definition` is the SignatureDef, `taps` are names -> nodes.
    """
    inputs = dict(sorted(definition.inputs.items()))
    outputs = {name: info.name for name, info in definition.outputs.items()}
    outputs |= {name: f"{node}:0" for name, node in taps.items()}
    function = owner.prune([info.name for info in inputs.values()], list(outputs.values()))
    return Tapped(function, list(inputs), list(outputs))


def constant(frozen: FrozenGraph) -> Any:
    """The frozen graph as an owner for `tapped`."""
    return tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(frozen.graph, name=""), [])
