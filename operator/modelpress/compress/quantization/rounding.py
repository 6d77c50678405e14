"""A net that rounds as it answers: kernels and activations become what int8 keeps of them, gradients pass through.

The straight-through estimator (Bengio et al. 2013; Jacob et al. 2018, section 3), over the model's own variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from modelpress.compress import model
from modelpress.compress.graph import FrozenGraph
from modelpress.compress.quantization.annotation import Annotated
from modelpress.compress.rows import Array

_LARGEST = 127.0
"""Of int8, without -128: zero is in the middle."""


class Kernel(NamedTuple):
    """How a kernel is rounded."""

    axes: tuple[int, ...]
    """Each place along them has a scale of its own."""
    normalisation: str | None = None
    """Node whose factors join the kernel before it is rounded; None where that changes nothing."""
    channel_axes: int = 1
    """Last axes of the kernel that its output channels take."""


def rounded(values: Any, axes: tuple[int, ...]) -> Any:
    """What int8 with zero in the middle keeps of a kernel, one scale for each place along `axes`."""
    rank = len(values.shape)
    others = [axis for axis in range(rank) if axis not in {axis % rank for axis in axes}]
    scale = tf.reduce_max(tf.abs(values), axis=others, keepdims=True) / _LARGEST
    return tf.round(tf.math.divide_no_nan(values, scale)) * scale


class Net:
    """A signature of the model that rounds as it answers, over the model's own variables."""

    def __init__(
        self,
        variables: Sequence[Any],
        frozen: FrozenGraph,
        signature: str,
        kernels: Mapping[str, Kernel],
        net: Annotated,
    ) -> None:
        """`kernels` by name of their variable."""
        self._kernels, self._net, self._first = kernels, net, len(variables)
        definition = frozen.signatures[signature]
        self._inputs = dict(sorted((name, info.name) for name, info in definition.inputs.items()))
        self._outputs = {name: info.name for name, info in definition.outputs.items()}
        needed = _part(net.graph, [*self._outputs.values(), *self._inputs.values()])
        self._nodes = {node.name: node for node in needed.node}
        self._places = [place for place in net.places if place.low in self._nodes]
        self._tensors = [f"{place.tensor}:0" for place in self._places]
        self._float = frozen.graph
        self.ranges = [tf.Variable(0.0, trainable=False) for _ in (0, 1) for _ in self._places]
        """The smallest values of the tensors that are rounded, then the largest."""
        self._seen: list[Any] = []
        fetched = [*self._outputs.values(), *self._tensors]
        self._function = _function(needed, lambda: self._read(variables), self._inputs.values(), fetched)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name. Traced."""
        answers = self._function(*(inputs[name] for name in self._inputs))
        outputs = [tf.identity(one) for one in answers[: len(self._outputs)]]
        # Nothing else keeps what is seen of a tensor from being assigned before its range was read to round it.
        with tf.control_dependencies(outputs):
            self._seen = [tf.identity(end) for end in _ends(answers[len(self._outputs) :])]
        return dict(zip(self._outputs, outputs, strict=True))

    def seen(self) -> dict[int, Any]:
        """Position after the model's variables -> the end of a range over the rows of the last call. Traced."""
        return {self._first + place: value for place, value in enumerate(self._seen)}

    def begin(self, inputs: Mapping[str, Array]) -> None:
        """Gives ranges the ends that some rows have in the net as it is, where nothing is rounded."""
        if not self._places:
            return
        plain = _function(
            _part(self._float, [*self._tensors, *self._inputs.values()]), dict, self._inputs.values(), self._tensors
        )
        fed = [tf.constant(inputs[name]) for name in self._inputs]
        ends = tf.function(lambda: _ends(plain(*fed))).get_concrete_function()()
        for variable, value in zip(self.ranges, ends, strict=True):
            variable.assign(value)

    def learnt(self) -> dict[str, tuple[float, float]]:
        """Node, or input or output of the signature, -> the range that it is rounded within."""
        ends = [float(one.numpy()) for one in self.ranges]
        count, known = len(self._places), self._at_the_ends()
        tensors = [known.get(place.tensor, place.tensor) for place in self._places]
        return {name: (ends[i], ends[count + i]) for i, name in enumerate(tensors)}

    def _at_the_ends(self) -> dict[str, str]:
        """Node -> the input or output that it is."""
        inputs = {tensor.partition(":")[0]: name for name, tensor in self._inputs.items()}
        answering = {name: self._nodes[tensor.partition(":")[0]].input[0] for name, tensor in self._outputs.items()}
        return {node.removesuffix("/rounded"): name for name, node in answering.items()} | inputs

    def settle(self, variables: Sequence[Any]) -> None:
        """Gives kernels the values that they are rounded to: of these the net has learnt what it knows."""
        found = {name_of(one): one for one in variables if one.trainable}
        for name, kept in {name: self._rounded(found, name) for name in self._kernels if name in self._nodes}.items():
            found[name].assign(kept)

    def _read(self, variables: Sequence[Any]) -> dict[str, Any]:
        """Tensors in the place of constants: variables as they are, kernels rounded, the ends of ranges."""
        found = {name_of(one): one.read_value() for one in variables if one.trainable and name_of(one) in self._nodes}
        rounding = {
            name: found[name] + tf.stop_gradient(self._rounded(found, name) - found[name])
            for name in self._kernels
            if name in found
        }
        names = [*(place.low for place in self._places), *(place.high for place in self._places)]
        ends = dict(zip(names, self._grid_ends(), strict=True))
        return {f"{name}:0": value for name, value in {**found, **rounding, **ends}.items()}

    def _grid_ends(self) -> list[Any]:
        """What grids reach to: of ranges, or of these with zero in their middle."""
        ends = [variable.read_value() for variable in self.ranges]
        if not self._net.symmetric:
            return ends
        count = len(self._places)
        reaches = [tf.maximum(-low, high) for low, high in zip(ends[:count], ends[count:], strict=True)]
        return [*(-reach for reach in reaches), *reaches]

    def _rounded(self, found: Mapping[str, Any], name: str) -> Any:
        """What int8 keeps of a kernel, whatever its normalisation makes of it."""
        values, kernel = tf.convert_to_tensor(found[name]), self._kernels[name]
        factors = self._factors(found, kernel)
        if factors is None:
            return rounded(values, kernel.axes)
        factors = tf.reshape(factors, values.shape[-kernel.channel_axes :])
        joined = rounded(values * factors, kernel.axes)
        return tf.where(factors == 0.0, values, tf.math.divide_no_nan(joined, factors))

    def _factors(self, found: Mapping[str, Any], kernel: Kernel) -> Any:
        """What normalisation multiplies each channel with; None where there is none, or it is not known."""
        if kernel.normalisation is None:
            return None
        node = self._nodes[kernel.normalisation]
        scale, variance = (self._value(found, node.input[place].partition(":")[0]) for place in (1, 4))
        if scale is None or variance is None:
            return None
        return scale * tf.math.rsqrt(variance + node.attr["epsilon"].f)

    def _value(self, found: Mapping[str, Any], name: str) -> Any:
        node = self._nodes[name]
        return found.get(name, tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None)


def _part(whole: Any, tensors: Iterable[str]) -> Any:
    with model.quiet():
        return tf.compat.v1.graph_util.extract_sub_graph(whole, [name.partition(":")[0] for name in tensors])


def _function(
    definition: Any, read: Callable[[], Mapping[str, Any]], fed: Iterable[str], fetched: Sequence[str]
) -> Any:
    """A graph as a function; what `read` gives stands in for tensors of these names."""

    def imported() -> None:
        with tf.name_scope("training/read"):
            found = read()
        tf.graph_util.import_graph_def(definition, input_map=found, name="")

    with model.quiet():
        return tf.compat.v1.wrap_function(imported, []).prune(list(fed), list(fetched))


def _ends(tensors: Sequence[Any]) -> list[Any]:
    """The smallest values of tensors, then the largest; zero is always between them. Traced."""
    smallest = [tf.minimum(tf.reduce_min(values), 0.0) for values in tensors]
    return [*smallest, *(tf.maximum(tf.reduce_max(values), 0.0) for values in tensors)]


def name_of(variable: Any) -> str:
    """Of a variable, as its constant in a frozen graph is called."""
    return str(variable.name).split(":")[0]
