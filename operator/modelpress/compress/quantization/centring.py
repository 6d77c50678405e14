"""Weights with a zero point, for kernels that want zero in the middle: `x W = x (W - m) + m sum(x)`.

What is left around the middles is quantized as any weights are; the sum over each row, or each patch of an image, is
taken of the floats, so that it loses nothing. Both are joined where the layer's own activation function was.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer.utils import tfl_flatbuffer_utils

from modelpress.compress import flatbuffer
from modelpress.compress.quantization import zero_points
from modelpress.compress.quantization.zero_points import Shifted
from modelpress.compress.rows import Array

_OPERATORS, _TYPES, _OPTIONS = schema.BuiltinOperator, schema.TensorType, schema.BuiltinOptions
_FEW_BITS = frozenset({"CONV_2D", "FULLY_CONNECTED"})
"""Kinds that hold weights of four bits."""
_PER_CHANNEL = _FEW_BITS
_TABLE = "GATHER"
_BITS = 8
"""Of all weights that the scheme gives no fewer."""
_KINDS = {getattr(_OPERATORS, kind): kind for kind in (*_FEW_BITS, "BATCH_MATMUL", _TABLE)}


class Centred(NamedTuple):
    """A float32 flatbuffer that answers as before, and what in it is to be quantized how."""

    content: bytes
    variables: Mapping[str, str]
    """Layers' names, as from `layers.variable_layers`."""
    floats: tuple[str, ...]
    """Scopes of the operations that were added; they stay float32."""
    rounded: tuple[str, ...]
    """Scopes of the operations whose weights are on their grid of four bits already."""
    note: str
    """For people."""


def centred(
    content: bytes, variables: Mapping[str, str], spared: Collection[str], *, bits: int, per_channel: bool
) -> Centred:
    """Takes the middles out of all weights but those of `spared` scopes, where that is worth it.

    `bits` are those that dense layers and convolutions will have, 8 or 4; all else has 8.
    """
    model = flatbuffer.parsed(content)
    rewriter = _Rewriter(model, dict(variables), frozenset(spared), bits, per_channel)
    for subgraph in model.subgraphs:
        rewriter.rewrite(subgraph)
    if not rewriter.done:
        return Centred(
            content, variables, (), (), "no layer's weights lie to one side: zero stays in the middle of all"
        )
    rewriter.drop_unused()
    flatbuffer.redescribe(model, content)
    others = "; the others' weights lie around zero" if len(rewriter.done) < rewriter.seen else ""
    note = f"zero points in {len(rewriter.done)} of {rewriter.seen} layers{others}"
    floats, layers = _scopes(rewriter.added), _scopes(rewriter.done)
    return Centred(flatbuffer.written(model), rewriter.variables, floats, layers if bits < _BITS else (), note)


def _scopes(operators: Iterable[tuple[Any, Any]]) -> tuple[str, ...]:
    return tuple(tfl_flatbuffer_utils.get_op_scope(one, subgraph.tensors) for subgraph, one in operators)


@dataclass
class _Rewriter:
    model: Any
    variables: dict[str, str]
    spared: frozenset[str]
    bits: int
    per_channel: bool
    seen: int = 0
    added: list[tuple[Any, Any]] = field(default_factory=list)
    """(subgraph, operator), as the layers."""
    done: list[tuple[Any, Any]] = field(default_factory=list)
    _shared: dict[Any, tuple[int, Shifted | None]] = field(default_factory=dict)
    """(tensors, weights, granularity) -> their tensor around the middles; several layers may use one."""

    def rewrite(self, subgraph: Any) -> None:
        operators, subgraph.operators = subgraph.operators, []
        for one in operators:
            kind = _KINDS.get(self.model.operatorCodes[one.opcodeIndex].builtinCode)
            scope = tfl_flatbuffer_utils.get_op_scope(one, subgraph.tensors)
            place = 0 if kind == _TABLE else 1
            if kind and scope not in self.spared and self._is_fit(subgraph, one, kind, place):
                self.seen += 1
                self._centre(subgraph, one, kind, place)
            else:
                subgraph.operators.append(one)

    def drop_unused(self) -> None:
        """Empties the buffers of weights that no operation reads any more."""
        read = {
            subgraph.tensors[index].buffer
            for subgraph in self.model.subgraphs
            for index in (*(i for one in subgraph.operators for i in one.inputs if i >= 0), *subgraph.outputs)
        }
        for subgraph in self.model.subgraphs:
            for tensor in subgraph.tensors:
                if tensor.buffer not in read:
                    tensor.buffer = 0
        kept = {tensor.buffer for subgraph in self.model.subgraphs for tensor in subgraph.tensors}
        kept |= {entry.buffer for entry in self.model.metadata or []}
        for number, buffer in enumerate(self.model.buffers):
            if number not in kept:
                buffer.data = None

    def _is_fit(self, subgraph: Any, one: Any, kind: str, place: int) -> bool:
        """Whether the weights are constants, and inputs and outputs of a shape in which a sum can stand in."""
        weights, given = subgraph.tensors[one.inputs[place]], subgraph.tensors[one.inputs[0]]
        data = self.model.buffers[weights.buffer].data
        if weights.type != _TYPES.FLOAT32 or data is None or not len(data) or len(weights.shape) < 2:
            return False
        if kind == _TABLE:
            return True
        if kind == "CONV_2D":
            return int(weights.shape[3]) == int(given.shape[3])  # not in groups of channels
        is_plain = kind != "BATCH_MATMUL" or not one.builtinOptions.adjX
        return is_plain and len(given.shape) == len(subgraph.tensors[one.outputs[0]].shape)

    def _centre(self, subgraph: Any, one: Any, kind: str, place: int) -> None:
        index, shifted = self._around(subgraph, int(one.inputs[place]), kind)
        if shifted is None:
            subgraph.operators.append(one)
            return
        output = int(one.outputs[0])
        made = subgraph.tensors[output]
        old = made.name.decode()
        name = f"{old.rstrip(';')}/around"
        given, one.inputs = int(one.inputs[0]), [int(i) for i in one.inputs]
        one.inputs[place], one.outputs = index, [_like(subgraph, name, made)]
        activation = 0
        if kind in _FEW_BITS:
            one.builtinOptions = copy.copy(one.builtinOptions)
            activation, one.builtinOptions.fusedActivationFunction = one.builtinOptions.fusedActivationFunction, 0
        apart = self._middles(subgraph, name, shifted.middle)
        if kind != _TABLE:
            sums = self._sums(subgraph, name, given, one if kind == "CONV_2D" else None, made)
            product = _like(subgraph, f"{name}/moved", made, last=None if len(shifted.middle) > 1 else 1)
            self._add(subgraph, "MUL", [sums, apart], product, _options("Mul", fusedActivationFunction=0))
            apart = product
        subgraph.operators.append(one)
        joined = [int(one.outputs[0]), apart]
        self._add(subgraph, "ADD", joined, output, _options("Add", fusedActivationFunction=activation))
        last, renamed = (one.rpartition(";")[2] for one in (old.rstrip(";"), name))
        if last in self.variables:
            self.variables[renamed] = self.variables[last]
        self.done.append((subgraph, one))

    def _around(self, subgraph: Any, index: int, kind: str) -> tuple[int, Shifted | None]:
        """The tensor of the weights around their middles, and these."""
        bits = self.bits if kind in _FEW_BITS else _BITS
        per_channel = self.per_channel and kind in _PER_CHANNEL
        key = (id(subgraph), index, bits, per_channel, kind == _TABLE)
        if key not in self._shared:
            weights = subgraph.tensors[index]
            data = self.model.buffers[weights.buffer].data
            values = np.frombuffer(data.tobytes(), np.float32).reshape(weights.shape)
            found = zero_points.shifted(values, bits, per_channel=per_channel, multiplied=kind != _TABLE)
            name = f"{weights.name.decode()}/around"
            self._shared[key] = (self._constant(subgraph, name, found.around) if found else index, found)
        return self._shared[key]

    def _middles(self, subgraph: Any, name: str, middle: Array) -> int:
        return self._constant(subgraph, f"{name}/middles", middle if len(middle) > 1 else middle.reshape(()))

    def _sums(self, subgraph: Any, name: str, given: int, convolution: Any, made: Any) -> int:
        """The tensor of the sums of what each output is made of: one column, or one channel."""
        source = subgraph.tensors[given]
        axis = self._constant(subgraph, f"{name}/axis", np.array([len(source.shape) - 1], np.int32), _TYPES.INT32)
        sums = _like(subgraph, f"{name}/sums", source, last=1)
        self._add(subgraph, "SUM", [given, axis], sums, _options("Reducer", keepDims=True))
        if convolution is None:
            return sums
        height, width = subgraph.tensors[convolution.inputs[1]].shape[1:3]
        ones = self._constant(subgraph, f"{name}/ones", np.ones((1, height, width, 1), np.float32))
        nothing = self._constant(subgraph, f"{name}/nothing", np.zeros(1, np.float32))
        patches = _like(subgraph, f"{name}/patches", made, last=1)
        self._add(subgraph, "CONV_2D", [sums, ones, nothing], patches, copy.copy(convolution.builtinOptions))
        return patches

    def _constant(self, subgraph: Any, name: str, values: Array, kind: int = _TYPES.FLOAT32) -> int:
        buffer, tensor = schema.BufferT(), schema.TensorT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor.name, tensor.shape, tensor.type = name.encode(), list(values.shape), kind
        tensor.buffer = len(self.model.buffers) - 1
        subgraph.tensors.append(tensor)
        return len(subgraph.tensors) - 1

    def _add(self, subgraph: Any, kind: str, inputs: Sequence[int], output: int, options: Any) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._code(kind), list(inputs), [output]
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(_OPTIONS, type(options).__name__.removesuffix("T"))
        subgraph.operators.append(operator)
        self.added.append((subgraph, operator))

    def _code(self, kind: str) -> int:
        number = getattr(_OPERATORS, kind)
        for place, known in enumerate(self.model.operatorCodes):
            if known.builtinCode == number:
                return place
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1


def _like(subgraph: Any, name: str, other: Any, last: int | None = None) -> int:
    """An activation of the shape of another, with another size of the last axis if given."""
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name.encode(), other.type, 0
    tensor.shape = [int(size) for size in other.shape]
    tensor.shapeSignature = None if other.shapeSignature is None else [int(size) for size in other.shapeSignature]
    for sizes in (tensor.shape, tensor.shapeSignature):
        if sizes is not None and last is not None:
            sizes[-1] = last
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1


def _options(name: str, **values: Any) -> Any:
    found = getattr(schema, f"{name}OptionsT")()
    for key, value in values.items():
        setattr(found, key, value)
    return found
