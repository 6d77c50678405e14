"""Batch normalisation while a net trains: by the statistics of each batch, which the moving averages follow.

As it serves, a net normalises by averages that its layers once had (Ioffe & Szegedy 2015). Where filters went or
weights move fast, these no longer hold; normalised by the batch itself, layers bear the learning rates of a training
from scratch. This is about flat graphs with variables, as `lifting` writes them; others train as they serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from modelpress.compress import model
from modelpress.compress.examples import Bound
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps.step import Setting
from modelpress.compress.training.batches import fixed_rows

LEAST_ROWS = 8
"""Of a batch; the statistics of fewer say too little."""
_OPERATION = "FusedBatchNormV3"
_NOTHING = "training/nothing"


class _Norm(NamedTuple):
    node: str
    mean: int
    """Position of the moving average among the variables."""
    variance: int


class Learner:
    """A signature as it trains: its outputs, and what the last batch said of the moving averages."""

    def __init__(self, function: Any, inputs: list[str], outputs: list[str], norms: list[_Norm]) -> None:
        self._function, self._inputs, self._outputs, self._norms = function, inputs, outputs, norms
        self._seen: dict[int, Any] = {}

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name, inner tensors by the names that they were asked for under. Traced."""
        answers = self._function(*(inputs[name] for name in self._inputs))
        statistics = answers[len(self._outputs) :]
        places = [place for norm in self._norms for place in (norm.mean, norm.variance)]
        self._seen = dict(zip(places, statistics, strict=True))
        return dict(zip(self._outputs, answers, strict=False))

    def seen(self) -> dict[int, Any]:
        """Position of a moving average -> its value over the rows of the last call. Traced, after the call."""
        return self._seen


def learner(opened: OpenedModel, signature: str, taps: Mapping[str, str] | None = None) -> Learner | None:
    """The signature as it trains; None where it has no batch normalisation whose averages are variables.

    `taps`: inner tensors that it shall give beside its outputs, under which name -> which node.
    """
    meta = model.meta_graph(opened.directory)
    definition = meta.signature_def[signature]
    inputs = dict(sorted(definition.inputs.items()))
    outputs = {name: info.name for name, info in definition.outputs.items()}
    outputs |= {name: f"{node}:0" for name, node in (taps or {}).items()}
    with model.quiet():
        needed = tf.compat.v1.graph_util.extract_sub_graph(meta.graph_def, [_node(name) for name in outputs.values()])
    variables = opened.variables()
    positions = {variable.name.split(":")[0]: place for place, variable in enumerate(variables)}
    readers = {
        node.name: positions[node.input[0]]
        for node in needed.node
        if node.op == "ReadVariableOp" and node.input[0] in positions
    }
    graph, norms = _training(needed, readers)
    if not norms:
        return None
    fetches = [*outputs.values(), *(f"{norm.node}:{index}" for norm in norms for index in (1, 2))]
    function = _function(graph, {name: variables[place] for name, place in readers.items()})
    pruned = function.prune([info.name for info in inputs.values()], fetches)
    return Learner(pruned, list(inputs), list(outputs), norms)


def fits(opened: OpenedModel, found: Bound, setting: Setting) -> bool:
    """Whether batches have rows enough."""
    return (fixed_rows(opened.signatures[found.signature]) or setting.training.batch_size) >= LEAST_ROWS


def _training(graph: Any, readers: Mapping[str, int]) -> tuple[Any, list[_Norm]]:
    """The graph with normalisation as in training, where the averages are variables, and which these are."""
    changed, norms = graph_pb2.GraphDef(), []
    changed.CopyFrom(graph)
    for node in changed.node:
        known = node.op == _OPERATION and not node.attr["is_training"].b
        mean, variance = (readers.get(_node(name)) for name in node.input[3:5]) if known else (None, None)
        if mean is None or variance is None:
            continue
        norms.append(_Norm(node.name, mean, variance))
        node.attr["is_training"].b = True
        node.input[3:5] = [_NOTHING, _NOTHING]
    if norms:
        nothing = changed.node.add(name=_NOTHING, op="Const")
        nothing.attr["dtype"].type = tf.float32.as_datatype_enum
        nothing.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([], tf.float32))
    return changed, norms


def _function(graph: Any, variables: Mapping[str, Any]) -> Any:
    """A wrapped function with all nodes; reading nodes are read from these variables."""

    def imported() -> None:
        with tf.name_scope("training/read"):
            read = {f"{name}:0": variable.read_value() for name, variable in variables.items()}
        tf.graph_util.import_graph_def(graph, input_map=read, name="")

    with model.quiet():
        return tf.compat.v1.wrap_function(imported, [])


def _node(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
