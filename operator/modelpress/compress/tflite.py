"""A model as one TFLite flatbuffer that TensorFlow Serving can serve under its own names.

All signatures must fit the first subgraph, the only one that the server calls: one function over shared inputs is
converted, and its names and signatures are then written as the server reads them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from modelpress.compress import alignment, flatbuffer, lookups, model
from modelpress.compress.alignment import Tie
from modelpress.compress.dataset import Array
from modelpress.compress.graph import inputs_alike
from modelpress.compress.model import OpenedModel

FILE_NAME = "model.tflite"
SERVED_TYPES = frozenset({"float32", "int8", "uint8", "int16", "int32", "int64", "bool", "string", "complex64"})
"""What TensorFlow Serving can take from and give to a TFLite model."""

Weights = Literal["Float32", "Float16", "DynamicInt8", "StaticInt8"]
_FLEX = re.compile(r"(?:Flex|TF Select) ops: ([^\n]+)")
_CUSTOM = re.compile(r"Custom ops: ([^\n]+)")
_STUCK = re.compile(r"'tf\.(\w+)' op (.+)")
_CALLED = re.compile(r"^(?:StatefulPartitionedCall/)+(?=.)")
_AT = re.compile(r"^\S+:\d+:\d+: error: ")


class NotConvertible(Exception):
    """TFLite cannot hold this model; `reason` is CamelCase, the text a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def convert(
    opened: OpenedModel,
    weights: Weights,
    *,
    per_channel: bool = True,
    calibration: Iterable[Mapping[str, Array]] = (),
    ties: Sequence[Tie] = (),
) -> bytes:
    """The flatbuffer of the model; float32 in and out. Raises NotConvertible.

    `calibration` is needed for StaticInt8: small batches of the inputs. `ties` are axes to align, see `alignment`.
    """
    _require_servable(opened)
    joined = _Joined(opened, ties)
    with model.quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([joined.function()], joined.owner)
        _configure(converter, weights, per_channel, joined.fed(calibration))
        try:
            content = converter.convert()
        except Exception as error:  # the converter raises whatever its passes raise
            raise _explained(error, opened) from error
    return joined.finished(content)


def write(content: bytes, directory: Path) -> None:
    """Writes model.tflite into `directory`."""
    (directory / FILE_NAME).write_bytes(content)


class Interpreter:
    """Runs a flatbuffer by the names of its signatures, as the server does: from the metadata, one thread."""

    def __init__(self, content: bytes) -> None:
        with model.quiet():
            self._interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
        details = [*self._interpreter.get_input_details(), *self._interpreter.get_output_details()]
        self._indexes = {detail["name"]: detail["index"] for detail in details}
        self._signatures = flatbuffer.read_signatures(content)

    def call(self, name: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of a signature. Raises ValueError or RuntimeError where the model does not run."""
        signature = self._signatures[name]
        for key, info in signature.inputs.items():
            self._interpreter.resize_tensor_input(self._indexes[info.name], inputs[key].shape)
        self._interpreter.allocate_tensors()
        for key, info in signature.inputs.items():
            self._interpreter.set_tensor(self._indexes[info.name], inputs[key])
        self._interpreter.invoke()
        return {key: self._interpreter.get_tensor(self._indexes[info.name]) for key, info in signature.outputs.items()}


def resized_one_by_one(content: bytes, name: str, inputs: Sequence[Mapping[str, Array]]) -> str | None:
    """What fails where a server takes these inputs one after the other on one interpreter; None where nothing does.

    TensorFlow Serving resizes one input and allocates all tensors before it looks at the next input, in an order that
    depends on the request (tflite_session.cc), so that for a moment the inputs may have sizes that contradict.
    """
    signature = flatbuffer.read_signatures(content)[name]
    for keys in {tuple(sorted(signature.inputs)), tuple(sorted(signature.inputs, reverse=True))}:
        with model.quiet():
            interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
        indexes = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
        for fed in inputs:
            try:
                for key in keys:
                    interpreter.resize_tensor_input(indexes[signature.inputs[key].name], fed[key].shape)
                    interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                return " ".join(str(error).split())
    return None


def _require_servable(opened: OpenedModel) -> None:
    signatures = list(opened.signatures.values())
    if not inputs_alike(signatures):
        raise NotConvertible(
            "SeveralSubgraphs",
            f"signatures {', '.join(opened.signatures)} take different inputs, and TensorFlow Serving runs only the "
            "first subgraph of a TFLite model; name those of equal inputs in spec.source.signatures",
        )
    for signature in signatures:
        for name, tensor in {**signature.inputs, **signature.outputs}.items():
            if tensor.dtype not in SERVED_TYPES:
                raise NotConvertible(
                    "UnsupportedType", f"{name} is {tensor}, which TFLite in TensorFlow Serving cannot pass"
                )
            if name in signature.inputs and tensor.shape is None:
                raise NotConvertible("UnsupportedType", f"{name} may have any rank; TFLite needs a rank")


def _require_stateless(parsed: Any) -> None:
    """Nothing of a request may reach the next one: a server runs several interpreters, each with a state of its own."""
    keeping = flatbuffer.stateful(parsed)
    if keeping:
        raise NotConvertible(
            "KeepsState",
            f"as TFLite it would keep state from one request to the next ({', '.join(keeping)}), and a server "
            "answers with several interpreters, each with a state of its own",
        )


def _configure(converter: Any, weights: Weights, per_channel: bool, calibration: Callable[[], Any] | None) -> None:
    converter._experimental_disable_per_channel = not per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel
    if weights == "Float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "Float16":
        converter.target_spec.supported_types = [tf.float16]
    elif weights == "StaticInt8":
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _explained(error: Exception, opened: OpenedModel) -> NotConvertible:
    text = str(error)
    missing = [
        one.strip() for found in (_FLEX.search(text), _CUSTOM.search(text)) if found for one in found[1].split(",")
    ]
    if missing:
        places = [f"{one}{_place(opened, one)}" for one in missing]
        return NotConvertible("UnsupportedOperation", f"TFLite has no operation for {', '.join(places)}")
    lines = [_AT.sub("", line.strip()) for line in text.splitlines() if line.strip()]
    first = (lines[0] if lines else type(error).__name__)[:500]
    stuck = _STUCK.search(first)
    if stuck:
        what, why = stuck.groups()
        return NotConvertible("UnsupportedOperation", f"TFLite cannot hold {what}{_place(opened, what)}: {why}")
    return NotConvertible("ConversionFailed", first)


def _place(opened: OpenedModel, operation: str) -> str:
    """Where the model has an operation, for people; empty where it is nowhere, as the converter made it of others."""
    graph = model.meta_graph(opened.directory).graph_def
    nodes = itertools.chain(graph.node, *(function.node_def for function in graph.library.function))
    found = next((node.name for node in nodes if node.op == operation), None)
    return "" if found is None else f" ({_CALLED.sub('', found)})"


class _Joined:
    """All signatures over one set of inputs, converted under plain names that `finished` replaces."""

    def __init__(self, opened: OpenedModel, ties: Sequence[Tie]) -> None:
        self._opened, self._ties = opened, ties
        first = next(iter(opened.signatures))
        self._inputs = opened.function(first).structured_input_signature[1]
        self._arguments = {name: f"input_{index}" for index, name in enumerate(sorted(self._inputs))}
        self._outputs = {
            (name, key): f"output_{index}"
            for index, (name, key) in enumerate(
                (name, key) for name in opened.signatures for key in sorted(opened.signatures[name].outputs)
            )
        }
        self.owner = tf.Module()
        self.owner.model = opened.loaded

    def function(self) -> Any:
        """One concrete function that answers every signature."""

        def answer(**arguments: Any) -> dict[str, Any]:
            fed = {name: arguments[argument] for name, argument in self._arguments.items()}
            fed = alignment.aligned(fed, self._ties)
            answers = {name: self._opened.function(name)(**fed) for name in self._opened.signatures}
            return {output: tf.identity(answers[name][key]) for (name, key), output in self._outputs.items()}

        specifications = {
            argument: tf.TensorSpec(self._inputs[name].shape, self._inputs[name].dtype, name=argument)
            for name, argument in self._arguments.items()
        }
        return tf.function(answer).get_concrete_function(**specifications)

    def fed(self, batches: Iterable[Mapping[str, Array]]) -> Callable[[], Any]:
        """Calibration batches under the function's names."""
        return lambda: ({argument: batch[name] for name, argument in self._arguments.items()} for batch in batches)

    def finished(self, content: bytes) -> bytes:
        """The flatbuffer with the model's own names, for the server and for TFLite's runners, and each output once."""
        parsed = flatbuffer.parsed(content)
        _require_stateless(parsed)
        subgraph, native = parsed.subgraphs[0], parsed.signatureDefs[0]
        tensors = {entry.name.decode(): int(entry.tensorIndex) for entry in [*native.inputs, *native.outputs]}
        subgraph.outputs = list(dict.fromkeys(int(index) for index in subgraph.outputs))
        boundary = {tensors[argument]: name for name, argument in self._arguments.items()}
        for (_, key), output in self._outputs.items():
            boundary.setdefault(tensors[output], key)
        calls = {
            name: flatbuffer.Call(
                {key: tensors[self._arguments[key]] for key in signature.inputs},
                {key: tensors[self._outputs[name, key]] for key in signature.outputs},
                signature.method,
            )
            for name, signature in self._opened.signatures.items()
        }
        lookups.describe(parsed)
        try:
            flatbuffer.describe(parsed, calls, boundary)
        except flatbuffer.UnservableSignature as error:
            raise NotConvertible("UnservableSignature", str(error)) from error
        return flatbuffer.written(parsed)
