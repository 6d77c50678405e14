"""A TFLite version as TensorFlow Serving runs it: single-threaded interpreters, signatures from metadata only."""

from __future__ import annotations

import logging
import queue
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from flatbuffers import flexbuffers
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python import schema_py_generated as schema

from modelpress.server import signatures, tensors
from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.servable import Array

log = logging.getLogger(__name__)

FILE_NAME = "model.tflite"
METADATA = "signature_defs_metadata"

_UNKNOWN = (-1,)
"""Shape of an input that failed to be resized: no value has it, so the next one resizes again."""

_TYPES = (
    types_pb2.DT_FLOAT,
    types_pb2.DT_INT32,
    types_pb2.DT_UINT8,
    types_pb2.DT_INT64,
    types_pb2.DT_STRING,
    types_pb2.DT_BOOL,
    types_pb2.DT_INT16,
    types_pb2.DT_COMPLEX64,
    types_pb2.DT_INT8,
)


class TFLite:
    """One loaded model.tflite. Callers wait, without a time limit, when every interpreter runs."""

    def __init__(self, path: Path, *, interpreters: int) -> None:
        """Raises Failure. The interpreters share the file's bytes."""
        content = path.read_bytes()
        self._pool: queue.LifoQueue[_Interpreter] = queue.LifoQueue()
        first = _Interpreter(content)
        self.signatures: Mapping[str, signatures.Signature] = _signatures(content, first)
        self._pool.put(first)
        for _ in range(interpreters - 1):
            self._pool.put(_Interpreter(content))

    def run(self, feeds: tuple[str, ...], values: Sequence[Array], fetches: tuple[str, ...]) -> Sequence[Array]:
        """Run the model on the interpreter used last, whose caches are warm."""
        interpreter = self._pool.get()
        try:
            return interpreter.run(feeds, values, fetches)
        finally:
            self._pool.put(interpreter)

    def close(self) -> None:
        """Drop the interpreters."""
        while not self._pool.empty():
            self._pool.get_nowait()


class _Interpreter:
    """An interpreter and where its tensors are."""

    def __init__(self, content: bytes) -> None:
        try:
            with warnings.catch_warnings():
                # LiteRT, which the warning recommends, is not what TensorFlow Serving runs and has no flex operations.
                warnings.simplefilter("ignore", UserWarning)
                self._interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise Failure(Code.INTERNAL, f"Cannot build Interpreter from buffer. {error}") from error
        self.inputs = _tensors(self._interpreter.get_input_details(), "Input")
        self.outputs = _tensors(self._interpreter.get_output_details(), "Output")
        self._types = {name: _dtype(tensor) for name, tensor in self.inputs.items()}
        self._shapes = {name: tuple(tensor["shape"]) for name, tensor in self.inputs.items()}

    def run(self, feeds: tuple[str, ...], values: Sequence[Array], fetches: tuple[str, ...]) -> Sequence[Array]:
        interpreter = self._interpreter
        shapes = {}
        for name, value in zip(feeds, values, strict=True):
            if tensors.DTYPE[value.dtype] != self._types[name]:
                raise invalid_argument(
                    f"Type mismatch: actual {tensors.name(tensors.DTYPE[value.dtype])} vs. expect "
                    f"{tensors.name(self._types[name])} for input tensor {name}"
                )
            if self._shapes[name] != value.shape:
                shapes[name] = value.shape
        if shapes:
            self._resize(shapes)
        try:
            for name, value in zip(feeds, values, strict=True):
                interpreter.set_tensor(self.inputs[name]["index"], value)
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise Failure(Code.INTERNAL, f"Failed to invoke TfLite interpreter: {error}") from error
        return [interpreter.get_tensor(self.outputs[name]["index"]) for name in fetches]

    def _resize(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        # TensorFlow Serving, too, allocates after each input, when shapes of several inputs may contradict each other.
        for name, shape in shapes.items():
            self._shapes[name] = _UNKNOWN
            try:
                self._interpreter.resize_tensor_input(self.inputs[name]["index"], shape)
                self._interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                raise Failure(Code.INTERNAL, f"Failed to allocate tensors: {error}") from error
            self._shapes[name] = shape


def _tensors(details: Sequence[Any], kind: str) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for tensor in details:
        if tensor["name"] in found:
            raise Failure(Code.ALREADY_EXISTS, f"{kind} tensor name: {tensor['name']} has multiple indices")
        _dtype(tensor)
        found[tensor["name"]] = tensor
    return found


def _dtype(tensor: Any) -> int:
    kind = np.dtype(tensor["dtype"])
    number = types_pb2.DT_STRING if kind.kind in "OS" else tensors.DTYPE.get(kind, types_pb2.DT_INVALID)
    if number not in _TYPES:
        raise Failure(Code.INTERNAL, f"Unknown TfLite type: {kind}")
    return int(number)


def _signatures(content: bytes, interpreter: _Interpreter) -> Mapping[str, signatures.Signature]:
    definitions = _metadata(content)
    if not definitions:
        log.warning("No signature def found in TFLite model. Generating one.")
        definitions = {signatures.DEFAULT: _generated(interpreter)}
    for definition in definitions.values():
        for kind, infos, known in (
            ("input", definition.inputs, interpreter.inputs),
            ("output", definition.outputs, interpreter.outputs),
        ):
            for alias, info in infos.items():
                info.name = _existing(info.name, known, kind, alias)
    return {name: signatures.read(name, definition) for name, definition in definitions.items()}


def _existing(name: str, known: Mapping[str, Any], kind: str, alias: str) -> str:
    """Early converters wrote tensor names without the `:0`."""
    for candidate in (name, name.partition(":")[0]):
        if candidate in known:
            return candidate
    raise Failure(Code.INTERNAL, f"Unknown tensor '{name}'.\n\tSignature {kind} {alias} references an unknown tensor")


def _metadata(content: bytes) -> dict[str, Any]:
    """SignatureDefs of the one metadata entry TensorFlow Serving reads; native TFLite signatures are not looked at."""
    model = schema.Model.GetRootAs(content, 0)
    for place in range(model.MetadataLength()):
        entry = model.Metadata(place)
        if entry.Name() == METADATA.encode():
            buffer = model.Buffers(entry.Buffer())
            # Never as text: a size that is not known (-1) is no UTF-8.
            values = flexbuffers.GetRoot(bytearray(buffer.DataAsNumpy().tobytes())).AsMap
            names = [key.AsKey for key in values.Keys]
            return {name: _definition(values[name].AsStringBytes) for name in names}
    return {}


def _definition(raw: bytes) -> Any:
    # The reader in C++ takes the value as a C string, so what follows a zero byte is lost there too.
    try:
        return meta_graph_pb2.SignatureDef.FromString(raw.partition(b"\0")[0])
    except Exception as error:
        raise invalid_argument(f"Invalid SignatureDefs found in TfLite model: {error}") from error


def _generated(interpreter: _Interpreter) -> Any:
    """One signature named after the tensors, cut at the colon: outputs `x:0` and `x:1` become one."""
    definition = meta_graph_pb2.SignatureDef(method_name=signatures.PREDICT)
    for infos, known in ((definition.inputs, interpreter.inputs), (definition.outputs, interpreter.outputs)):
        for name in sorted(known):
            info = infos[name.partition(":")[0]]
            info.name, info.dtype = name, _dtype(known[name])
            info.ClearField("tensor_shape")
            for size in known[name]["shape"]:
                info.tensor_shape.dim.add().size = int(size)
    return definition
