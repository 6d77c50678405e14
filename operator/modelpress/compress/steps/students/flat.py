"""A model as one flat graph from which any inner tensor can be had; its weights are constants, or variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from modelpress.compress import graph, lifting, model
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


@dataclass(frozen=True)
class Flat:
    """A model as one graph, and what can run any part of it."""

    graph: Any
    """GraphDef; its nodes have the same names in what runs."""
    weights: Mapping[str, str]
    """Nodes that give weights -> names of the weights."""
    signatures: Mapping[str, Any]
    """SignatureDefs by name."""
    runs: Any
    """A wrapped function with all nodes."""

    @classmethod
    def constant(cls, opened: OpenedModel) -> Flat:
        """Weights as they are now, for good. Raises graph.NotFreezable."""
        frozen = graph.freeze(opened, merge_weights=False)
        function = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(frozen.graph, name=""), [])
        return cls(frozen.graph, {name: name for name in variables(opened, frozen)}, frozen.signatures, function)

    @classmethod
    def lifted(cls, opened: OpenedModel) -> Flat:
        """A SavedModel that `lifting` wrote; its variables can be trained through every part."""
        meta = model.meta_graph(opened.directory)
        weights = {node.name: node.input[0] for node in meta.graph_def.node if node.op == "ReadVariableOp"}
        return cls(meta.graph_def, weights, meta.signature_def, opened.loaded)

    def tapped(self, signature: str, taps: Mapping[str, str]) -> Tapped:
        """A signature that gives inner tensors, too: under which name -> which node."""
        definition = self.signatures[signature]
        inputs = dict(sorted(definition.inputs.items()))
        outputs = {name: info.name for name, info in definition.outputs.items()}
        outputs |= {name: f"{node}:0" for name, node in taps.items()}
        function = self.runs.prune([info.name for info in inputs.values()], list(outputs.values()))
        return Tapped(function, list(inputs), list(outputs))

    def shape(self, node: str) -> list[int | None] | None:
        """Static shape of a node's first output; None: any rank."""
        shape = self.runs.graph.get_tensor_by_name(f"{node}:0").shape
        return None if shape.rank is None else list(shape.as_list())
