"""Which entries of which tensors are one channel: labels propagated through a graph, operation by operation.

An operation without a rule may do anything with a channel, so whatever it reads has to stay: never wrong, at worst
less is removed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters import sizes
from modelpress.compress.steps.filters.atoms import Atoms, Axis, Labels, plain_axes
from modelpress.compress.steps.filters.sizes import Sizes

Rule = Callable[["Channels", Any], list[Labels] | None]
"""(analysis, node) -> labels of the outputs; None where the operation is not understood after all."""
_SIZED = "is made to measure by"
_FORMS = ("Cast", "ExpandDims", "Reshape", "Squeeze", "Transpose")


@dataclass(frozen=True)
class Weights:
    """A constant whose slices along `axis` make channels: a filter, a neuron, a column of an embedding."""

    name: str
    axis: int
    labels: Array


@dataclass(frozen=True)
class Sum:
    """An operand of a sum over channels: removing a channel drops its term."""

    node: str
    operand: int
    axis: int
    labels: Array


@dataclass(frozen=True)
class Resized:
    """An operand that is a vector of sizes whose literals have to follow these axes; None: left as it is."""

    node: str
    operand: int
    axes: tuple[Axis, ...]
    sizes: Sizes


@dataclass
class Found:
    """What propagation notes for those who choose and rebuild."""

    weights: list[Weights] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)
    resized: list[Resized] = field(default_factory=list)
    padded: dict[str, list[tuple[Axis, Axis]]] = field(default_factory=dict)
    """Pad -> labels of what it adds before and after each axis."""
    parts: dict[str, list[Array]] = field(default_factory=dict)
    """Split along channels -> labels of the parts."""
    splits: dict[str, tuple[Array, int]] = field(default_factory=dict)
    """Reshape that splits an axis with channels -> its labels, and how many axes could have carried them."""


class Channels:
    """The labels of all tensors of a graph whose nodes come after their inputs."""

    def __init__(self, graph: Any, shapes: Shapes, rules: Mapping[str, Rule], choices: Mapping[str, int]) -> None:
        """`choices`: Reshape that splits an axis -> which of the new axes carries its channels, the first if absent."""
        self.atoms = Atoms()
        self.found = Found()
        self.choices = choices
        self._shapes = shapes
        self._rules = rules
        self._nodes = {node.name: node for node in graph.node}
        self._labels: dict[str, Labels | None] = {}
        self._sizes: dict[str, Sizes] = {}
        for node in graph.node:
            self._visit(node)

    def labels(self, node: Any, position: int) -> Labels | None:
        """Of an operand; None: of unknown rank."""
        return self.of(node.input[position])

    def of(self, tensor: str) -> Labels | None:
        """Of a tensor of the graph."""
        return self._labels.get(canonical(tensor))

    def sizes(self, node: Any, position: int) -> Sizes | None:
        """What an operand that is a vector of sizes holds; None where it is none."""
        return self._sizes.get(canonical(node.input[position]))

    def length(self, node: Any, position: int) -> int | None:
        """Number of entries of an operand; None where only known at run time."""
        shape = self._shapes.of(node.input[position])
        known = [size for size in shape or () if size is not None]
        return None if shape is None or len(known) < len(shape) else math.prod(known)

    def outputs(self, node: Any) -> int:
        """Number of outputs."""
        return self._shapes.outputs(node.name)

    def shape(self, node: Any, output: int = 0) -> tuple[int | None, ...] | None:
        """Of an output, before anything goes; None: of unknown rank."""
        return self._shapes.of(f"{node.name}:{output}")

    def dtype(self, tensor: str) -> Any:
        """TensorFlow's type of a tensor."""
        return self._shapes.dtype(tensor)

    def constant(self, node: Any, position: int) -> Array | None:
        """Value of an operand; None where it is not constant, nor a vector of literals."""
        source = self.source(node.input[position])
        if source.op == "Const":
            value: Array = tf.make_ndarray(source.attr["value"].tensor)
            return value
        joined = self.sizes(node, position) or ()
        return np.array([size.value for size in joined]) if joined and all(one.literal for one in joined) else None

    def source(self, tensor: str) -> Any:
        """The node that gives a tensor, identities left out."""
        node = self._nodes[canonical(tensor).split(":")[0]]
        while node.op == "Identity":
            node = self._nodes[canonical(node.input[0]).split(":")[0]]
        return node

    def weights(self, tensor: str, axis: int, labels: Array) -> None:
        """Notes that slices of a tensor make these channels, if it is a constant, or one in another form."""
        source = self.source(tensor)
        if source.op == "Const":
            self._weights(Weights(source.name, axis, labels))
            return
        while source.op in _FORMS:
            source = self.source(source.input[0])
        if source.op == "Const":
            atoms = np.unique(self.atoms.roots(labels))
            for place, own in enumerate(self.of(source.name) or ()):
                if own is not None and len(own) > 1 and np.array_equal(np.unique(self.atoms.roots(own)), atoms):
                    self._weights(Weights(source.name, place, own))

    def _weights(self, weights: Weights) -> None:
        """Of a kernel [.., heads, entries] whole heads go."""
        if any(other.name == weights.name and other.axis < weights.axis for other in self.found.weights):
            self.atoms.fix(weights.labels, f"{weights.name} loses whole slices before it")
        self.found.weights.append(weights)

    def total(self, node: Any, operand: int, axis: int, labels: Axis) -> None:
        """Notes a sum over the channels of an operand's axis."""
        if labels is not None:
            self.found.sums.append(Sum(node.name, operand, axis, labels))

    def resize(self, node: Any, operand: int, axes: Labels) -> None:
        """Has the literals of an operand, a vector of sizes, follow these axes."""
        told = self.sizes(node, operand) or (sizes.UNKNOWN,) * len(axes)
        if len(told) != len(axes):
            self.atoms.fix_all(axes, _why(node))
            return
        for axis, size in zip(axes, told, strict=True):
            sizes.settle(self.atoms, axis, size, describe(node))
        self.found.resized.append(Resized(node.name, operand, axes, told))

    def _visit(self, node: Any) -> None:
        if node.op == "Const":
            self._constant(node)
            return
        derived = sizes.derived(self, node) if self._reads_sizes(node) else None
        for output, one in enumerate(derived or ()):
            self._sizes[f"{node.name}:{output}"] = one
        rule = self._rules.get(node.op)
        labels = rule(self, node) if rule is not None else None
        if labels is None:
            labels = self._unknown(node)
        if derived is None:
            self._fix_sizes(node)
        for output, axes in enumerate(labels):
            self._labels[f"{node.name}:{output}"] = self._checked(node, output, axes)

    def _constant(self, node: Any) -> None:
        proto = node.attr["value"].tensor
        shape = [size.size for size in proto.tensor_shape.dim]
        if tf.as_dtype(node.attr["dtype"].type).is_floating:
            axes = tuple(self.atoms.fresh(size) if size > 1 else plain_axes([size])[0] for size in shape)
            self._labels[f"{node.name}:0"] = axes
            return
        self._labels[f"{node.name}:0"] = plain_axes(shape)
        if len(shape) <= 1 and math.prod(shape) <= sizes.LIMIT and tf.as_dtype(node.attr["dtype"].type).is_integer:
            self._sizes[f"{node.name}:0"] = sizes.literals(tf.make_ndarray(proto))

    def _reads_sizes(self, node: Any) -> bool:
        return node.op == "Shape" or any(canonical(name) in self._sizes for name in node.input)

    def _unknown(self, node: Any) -> list[Labels]:
        for name in node.input:
            self.atoms.fix_all(self.of(name) or (), _why(node))
        shapes = [self.shape(node, output) for output in range(self.outputs(node))]
        return [plain_axes(shape) if shape is not None else () for shape in shapes]

    def _fix_sizes(self, node: Any) -> None:
        """What an operation makes of a size is not known, unless its rule has dealt with it."""
        dealt = {resized.operand for resized in self.found.resized if resized.node == node.name}
        for position, name in enumerate(node.input):
            if position not in dealt:
                for size in self._sizes.get(canonical(name), ()):
                    self.atoms.fix_all(size.axes, f"its number {_SIZED} {describe(node)}")

    def _checked(self, node: Any, output: int, axes: Labels) -> Labels | None:
        """The labels, unless TensorFlow finds another shape: then the channels stay."""
        shape = self.shape(node, output)
        if shape is None:
            return axes or None
        fits = len(shape) == len(axes) and all(
            size is None or (axis is not None and len(axis) == size) for size, axis in zip(shape, axes, strict=True)
        )
        if fits:
            return axes
        self.atoms.fix_all(axes, _why(node))
        return plain_axes(shape)


class Shapes:
    """The shapes that TensorFlow infers for a graph."""

    def __init__(self, graph: Any) -> None:
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.graph_util.import_graph_def(graph, name="")

    def of(self, tensor: str) -> tuple[int | None, ...] | None:
        """Sizes of a tensor's axes, None within: known at run time; None: of unknown rank."""
        shape = self._graph.get_tensor_by_name(canonical(tensor)).shape
        return None if shape.rank is None else tuple(shape.as_list())

    def outputs(self, node: str) -> int:
        """Number of outputs of a node."""
        return len(self._graph.get_operation_by_name(node).outputs)

    def dtype(self, tensor: str) -> Any:
        """Type of a tensor."""
        return self._graph.get_tensor_by_name(canonical(tensor)).dtype


def canonical(tensor: str) -> str:
    """The name with its output, e.g. `conv:0`."""
    return tensor if ":" in tensor else f"{tensor}:0"


def describe(node: Any) -> str:
    """A node for people: its operation, and the end of its name."""
    return f"{node.op} {'/'.join(node.name.split('/')[-2:])}"


def _why(node: Any) -> str:
    return f"{describe(node)} reads it"
