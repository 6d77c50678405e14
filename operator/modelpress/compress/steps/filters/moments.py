"""After filters went: each layer gets back the mean and the spread of its outputs, from rows without labels.

A layer that lost inputs sums less: its outputs have another mean and another variance than what follows, above all the
statistics of a batch normalisation, was made for. Both are measured on rows of data, channel by channel, and one layer
after the other, because each correction changes what the next layer hears. The spread goes into the kernel, the mean
into a bias: as Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.2,
correct the mean of quantized layers, and as re-estimating the statistics of a batch normalisation would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2

from modelpress.compress.dataset import Array
from modelpress.compress.graph import FrozenGraph
from modelpress.compress.steps.filters.channels import Channels
from modelpress.compress.steps.filters.nodes import attribute
from modelpress.compress.steps.filters.rebuild import unused

ROWS = 64
_LAYERS = ("Conv2D", "MatMul")
_INPUTS = ("Placeholder", "PlaceholderWithDefault")
_MOST = 4.0
"""A spread changes by this factor at most."""
_ALIKE = 1e-4
"""Of the spread; less is rounding."""
_SILENT = 1e-6
"""The spread of a channel that says nothing."""


class _Moments(NamedTuple):
    mean: Array
    spread: Array
    """Standard deviation."""


def corrected(
    before: FrozenGraph, after: FrozenGraph, channels: Channels, gone: Array, fed: Mapping[str, Array]
) -> tuple[Any, int]:
    """GraphDef of `after` with corrected layers, and how many these are. `fed`: rows by the names of input tensors."""
    found = _Corrected(after.graph, {name.split(":")[0] for name in fed})
    wanted = _measured(before.graph, found.layers, fed)
    count = 0
    for name in found.layers:
        axes = channels.of(name) or (None,)
        stays = slice(None) if axes[-1] is None else ~gone[channels.atoms.roots(axes[-1])]
        goal = _Moments(wanted[name].mean[stays], wanted[name].spread[stays])
        count += found.correct(name, goal, _measured(found.graph, [name], fed)[name])
    return found.graph, count


def _measured(graph: Any, names: list[str], fed: Mapping[str, Array]) -> dict[str, _Moments]:
    """Moments of nodes over all but their last axis; on one thread, so that sums are the same on every machine."""
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, use_per_session_threads=True
    )
    with tf.Graph().as_default() as built:
        tf.graph_util.import_graph_def(graph, name="")
        asked = {}
        for name in names:
            tensor = built.get_tensor_by_name(f"{name}:0")
            mean, variance = tf.nn.moments(tf.reshape(tensor, [-1, tf.shape(tensor)[-1]]), [0])
            asked[name] = (mean, tf.sqrt(variance))
        with tf.compat.v1.Session(config=config) as session:
            return {name: _Moments(*one) for name, one in session.run(asked, dict(fed)).items()}


class _Corrected:
    """A graph whose layers are corrected one after the other."""

    def __init__(self, graph: Any, fed: set[str]) -> None:
        self.graph = graph_pb2.GraphDef()
        self.graph.CopyFrom(graph)
        self._nodes = {node.name: node for node in self.graph.node}
        self._taken = set(self._nodes)
        self._readers = Counter(name for node in graph.node for name in node.input)
        deaf = _depending(self.graph, {node.name for node in graph.node if node.op in _INPUTS} - fed)
        self.layers = [node.name for node in self.graph.node if node.name not in deaf and self._is_correctable(node)]
        """In the order in which they run."""

    def correct(self, name: str, goal: _Moments, now: _Moments) -> bool:
        """Gives a layer these moments instead of those that it has; whether that changed anything."""
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(now.spread > _SILENT, goal.spread / now.spread, 1)
        factor = np.clip(factor, 1 / _MOST, _MOST).astype(np.float32)
        shift = (goal.mean - factor * now.mean).astype(np.float32)
        if np.abs(factor - 1).max() < _ALIKE and (np.abs(shift) <= _ALIKE * goal.spread + _SILENT).all():
            return False
        kernel = self._nodes[self._nodes[name].input[1]]
        _set(kernel, _value(kernel) * factor)
        self._shift(name, shift)
        return True

    def _is_correctable(self, node: Any) -> bool:
        if node.op not in _LAYERS or attribute(node, "data_format").s == b"NCHW" or attribute(node, "transpose_b").b:
            return False
        return self._is_own(node.input[1])

    def _is_own(self, name: str) -> bool:
        """Whether it is a float32 constant of one reader."""
        node = self._nodes.get(name)
        return (
            node is not None
            and node.op == "Const"
            and attribute(node, "dtype").type == tf.float32.as_datatype_enum
            and self._readers[name] == 1
        )

    def _shift(self, name: str, shift: Array) -> None:
        """Into the bias that follows, or out of the mean that is subtracted next, else by an addition of its own."""
        readers = [node for node in self.graph.node if name in node.input]
        if len(readers) == 1 and readers[0].input[0] == name:
            (reader,) = readers
            place, sign = {"BiasAdd": (1, 1), "FusedBatchNormV3": (3, -1)}.get(reader.op, (0, 0))
            if place and self._is_own(reader.input[place]):
                constant = self._nodes[reader.input[place]]
                _set(constant, _value(constant) + sign * shift)
                return
        constant = self.graph.node.add(name=unused(f"{name}/moments/shift", self._taken), op="Const")
        constant.attr["dtype"].type = tf.float32.as_datatype_enum
        _set(constant, shift)
        added = self.graph.node.add(name=unused(f"{name}/moments", self._taken), op="AddV2")
        added.input.extend([name, constant.name])
        added.attr["T"].type = tf.float32.as_datatype_enum
        for node in readers:
            node.input[:] = [added.name if one == name else one for one in node.input]


def _depending(graph: Any, names: set[str]) -> set[str]:
    """These nodes and all that need them; nodes come after what they need."""
    found = set(names)
    for node in graph.node:
        if any(one.lstrip("^").split(":")[0] in found for one in node.input):
            found.add(node.name)
    return found


def _value(node: Any) -> Array:
    found: Array = tf.make_ndarray(node.attr["value"].tensor)
    return found


def _set(node: Any, value: Array) -> None:
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
