"""A model as one pure graph: weights are constants, signatures share what they can, names depend on nothing else.

Freezing is TensorFlow's own pass; `canonical` then makes the result small and equal byte by byte in every process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework import convert_to_constants

from modelpress.compress import model, numbering, operands
from modelpress.compress.canonical import Canonical
from modelpress.compress.model import OpenedModel
from modelpress.compress.signature import Signature

PROTO_LIMIT_BYTES = 2**31 - 2**20
_RANDOM = re.compile(r"^(Stateless)?(Random|TruncatedNormal|Multinomial|ParameterizedTruncatedNormal|StatefulRandom)")
_RANDOM_SHOWN = 8
_STATELESS_RANDOM = re.compile(r"^Stateless(Random|TruncatedNormal|Multinomial|Parameterized|Random)")
_ASSIGNS = re.compile(r"^(Resource(Scatter|Apply|SparseApply)|Assign|Scatter(Nd)?(Add|Sub|Update)$)|VariableOp$")
_RESOURCES = (tf.resource.as_datatype_enum, tf.variant.as_datatype_enum)
_TABLES = re.compile(
    r"^(Anonymous|Mutable)*(Dense)?HashTable|^LookupTable|^ResourceGather|^VarHandleOp|^ReadVariableOp"
)
_TF1_VARIABLES = frozenset({"Variable", "VariableV2"})
_READS = frozenset({"ReadVariableOp", "VarIsInitializedOp", "ResourceGather", "VarHandleOp"})


class NotFreezable(Exception):
    """The graph keeps state or tables that constants cannot replace; the text says which."""


@dataclass(frozen=True)
class FrozenGraph:
    """A graph without variables, and the signatures that it answers."""

    graph: Any
    """GraphDef."""
    signatures: dict[str, Any]
    """SignatureDefs by name."""


def freeze(opened: OpenedModel, *, merge_weights: bool = True) -> FrozenGraph:
    """The signatures of the model over constants. Raises NotFreezable.

    Without `merge_weights`, weights of equal values stay apart, each under its variable's name.
    """
    joined = _Joined.of(opened)
    with model.quiet():
        function = tf.function(joined.call).get_concrete_function(*joined.specifications)
        _require_pure(function.graph.as_graph_def())
        definition = _with_constants(function)
    inputs = function.inputs[: len(joined.specifications)]
    outputs = numbering.apart(map(Canonical.output_name, joined.outputs))
    names = _weight_names(opened, function)
    graph = Canonical(definition, names, frozenset() if merge_weights else frozenset(names)).built(
        [tensor.op.name for tensor in inputs],
        {node: tensor.name.split(":") for node, tensor in zip(outputs, function.outputs, strict=True)},
    )
    resources = [node.name for node in graph.node if node.op == "Placeholder" and node.attr["dtype"].type in _RESOURCES]
    if resources or any(_TABLES.match(op) for op in operations(graph)):
        raise NotFreezable("it keeps lookup tables or other resources beside its weights")
    if graph.ByteSize() > PROTO_LIMIT_BYTES:
        raise NotFreezable("its weights exceed the 2 GB that one graph file can hold")
    return FrozenGraph(graph, joined.definitions(opened, inputs, [f"{node}:0" for node in outputs], function.outputs))


def _with_constants(function: Any) -> Any:
    """GraphDef of the function with its variables as constants.

    TensorFlow's public function would then build a new function of it, which takes most of the time and unloads
    functions that the opened model still needs.
    """
    try:
        data = convert_to_constants._FunctionConverterDataInEager(
            func=function, lower_control_flow=False, aggressive_inlining=False
        )
        return convert_to_constants._replace_variables_by_constants(data)[0]
    except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
        raise NotFreezable(f"its weights cannot be made constants ({_first_line(error)})") from error


def joined(opened: OpenedModel) -> Any:
    """GraphDef of all signatures together, as the model defines them."""
    found = _Joined.of(opened)
    with model.quiet():
        return tf.function(found.call).get_concrete_function(*found.specifications).graph.as_graph_def()


def kernels(opened: OpenedModel) -> frozenset[int]:
    """Positions of the variables that are multiplied by or looked up in, see `operands`."""
    found = _Joined.of(opened)
    with model.quiet():
        function = tf.function(found.call).get_concrete_function(*found.specifications)
    places = {id(variable.handle): place for place, variable in enumerate(opened.variables())}
    captures = {inner.op.name: places[id(outer)] for outer, inner in function.graph.captures if id(outer) in places}
    feeds = [tensor.op.name for tensor in function.inputs[: len(found.specifications)]]
    return operands.found(function.graph.as_graph_def(), feeds, captures)


def operations(graph: Any) -> set[str]:
    """Names of all operations, those inside functions included."""
    found = {node.op for node in graph.node}
    return found | {node.op for function in graph.library.function for node in function.node_def}


def random_operations(graph: Any) -> list[str]:
    """Operations that may answer differently each time, sorted, as `Type (node)`: the first few, and how many more."""
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    found = sorted({f"{node.op} ({node.name})" for node in nodes if _is_random(node.op)})
    more = len(found) - _RANDOM_SHOWN
    return [*found[:_RANDOM_SHOWN], f"and {more} more"] if more > 0 else found


def _is_random(operation: str) -> bool:
    return bool(_RANDOM.match(operation) and not _STATELESS_RANDOM.match(operation))


@dataclass(frozen=True)
class _Joined:
    """All signatures as one function; inputs of equal name, type and shape are one input."""

    specifications: tuple[Any, ...]
    feeds: dict[tuple[str, str], int]
    """(signature, input) -> position among the specifications."""
    outputs: tuple[tuple[str, str], ...]
    functions: dict[str, Any]

    @classmethod
    def of(cls, opened: OpenedModel) -> _Joined:
        functions = {name: opened.function(name) for name in opened.signatures}
        positions: dict[Any, int] = {}
        specifications: list[Any] = []
        feeds: dict[tuple[str, str], int] = {}
        taken: set[str] = set()
        for name, function in functions.items():
            for key, spec in sorted(function.structured_input_signature[1].items()):
                identity = (key, spec.dtype, str(spec.shape))
                if identity not in positions:
                    positions[identity] = len(specifications)
                    readable = _unused(f"{name}_{key}", taken)
                    specifications.append(tf.TensorSpec(spec.shape, spec.dtype, name=readable))
                feeds[name, key] = positions[identity]
        outputs = tuple((name, key) for name in functions for key in sorted(functions[name].structured_outputs))
        return cls(tuple(specifications), feeds, outputs, functions)

    def call(self, *tensors: Any) -> list[Any]:
        answers = {
            name: function(**{key: tensors[position] for (owner, key), position in self.feeds.items() if owner == name})
            for name, function in self.functions.items()
        }
        return [tf.identity(answers[name][key]) for name, key in self.outputs]

    def definitions(self, opened: OpenedModel, inputs: Any, outputs: list[str], answers: Any) -> dict[str, Any]:
        """SignatureDefs over the frozen graph: its input tensors, the names of its outputs, and tensors like them."""
        found: dict[str, Any] = {}
        for name, signature in opened.signatures.items():
            definition = meta_graph_pb2.SignatureDef(method_name=signature.method)
            for (owner, key), position in self.feeds.items():
                if owner == name:
                    _describe(definition.inputs[key], inputs[position].name, inputs[position])
            for position, (owner, key) in enumerate(self.outputs):
                if owner == name:
                    _describe(definition.outputs[key], outputs[position], answers[position])
            found[name] = definition
        return found


def _describe(info: Any, name: str, tensor: Any) -> None:
    info.name = name
    info.dtype = tensor.dtype.as_datatype_enum
    info.tensor_shape.CopyFrom(tensor.shape.as_proto())


def _unused(name: str, taken: set[str]) -> str:
    readable = re.sub(r"[^A-Za-z0-9_]", "_", name)
    readable = readable if readable[0].isalnum() else f"x{readable}"
    candidate, number = readable, 1
    while candidate.lower() in taken:
        candidate, number = f"{readable}_{number}", number + 1
    taken.add(candidate.lower())
    return candidate


def _require_pure(graph: Any) -> None:
    changing = sorted(op for op in operations(graph) if _ASSIGNS.search(op) and op not in _READS)
    if operations(graph) & _TF1_VARIABLES:
        raise NotFreezable("it keeps reference variables of TensorFlow 1; export it again with TensorFlow 2")
    if changing:
        raise NotFreezable(f"it changes its own state while it answers ({', '.join(changing)})")


def _weight_names(opened: OpenedModel, function: Any) -> dict[str, str]:
    """Node of a captured variable -> the variable's name: TensorFlow names such nodes by chance."""
    handles = {id(variable.handle): variable.name.split(":")[0] for variable in opened.variables()}
    return {inner.op.name: handles[id(outer)] for outer, inner in function.graph.captures if id(outer) in handles}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]


def inputs_alike(signatures: Iterable[Signature]) -> bool:
    """Whether one set of inputs feeds them all."""
    found = [dict(signature.inputs) for signature in signatures]
    return all(inputs == found[0] for inputs in found)
