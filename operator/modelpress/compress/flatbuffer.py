"""Names and signatures in a TFLite flatbuffer, as TensorFlow Serving reads them.

The server knows tensors by name and signatures only from the metadata entry `signature_defs_metadata`, a FlexBuffer map
from signature to SignatureDef; TFLite's native signatures, which other tools read, are kept equal to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2

METADATA = "signature_defs_metadata"
_IDENTIFIER = b"TFL3"
_LENGTH, _WIDE = 4, 8
"""Bytes of a vector's length, and of a 64-bit number."""
_CHANCE = re.compile(r"__inference_(\w+?)_\d+")
_TYPES = {
    getattr(schema.TensorType, name.upper()): name
    for name in ("float32", "int8", "uint8", "int16", "int32", "int64", "bool", "string", "complex64")
}
_OPERATIONS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_VARIABLES = frozenset({"VAR_HANDLE", "ASSIGN_VARIABLE", "READ_VARIABLE"})


class UnservableSignature(ValueError):
    """A signature that TensorFlow Serving could not read back; the text says which."""


class Call(NamedTuple):
    """One signature: names -> tensors of the first subgraph."""

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    method: str


def parsed(content: bytes) -> Any:
    """The flatbuffer as objects of the schema; buffers are views of `content`."""
    model = flatbuffer_utils.read_model_from_bytearray(memoryview(content))
    for buffer in model.buffers:
        if isinstance(buffer.data, memoryview):
            # Anything but an array is written byte by byte, which takes minutes.
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    return model


def written(model: Any) -> bytes:
    """The bytes of a parsed flatbuffer."""
    builder = _Sharing(1024)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


class _Sharing(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that writes equal vectors of 64-bit numbers once, as the format allows.

    Those are zero points: 8 bytes a channel, all of them 0, and 2 to 4 % of a small net in int8.
    """

    head: int

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._before, self._width = 0, 0
        self._vectors: dict[bytes, int] = {}

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        """Begins a vector."""
        self._before, self._width = self.Offset(), elemSize
        return int(super().StartVector(elemSize, numElems, alignment))

    def EndVector(self, numElems: int | None = None) -> int:
        """Where the vector is: this one, or the equal one before it."""
        count = self.vectorNumElems
        offset = int(super().EndVector(numElems))
        if self._width != _WIDE:
            return offset
        content = bytes(self.Bytes[self.head : self.head + _LENGTH + _WIDE * count])
        known = self._vectors.setdefault(content, offset)
        if known != offset:
            self.head = len(self.Bytes) - self._before
        return known


def read_signatures(content: bytes) -> dict[str, Any]:
    """SignatureDefs by name, from the metadata that TensorFlow Serving reads; empty without it."""
    model = parsed(content)
    for entry in model.metadata or []:
        if entry.name == METADATA.encode():
            stored = flexbuffers.GetRoot(bytearray(model.buffers[entry.buffer].data)).AsMap
            keys = [key.AsKey for key in stored.Keys]
            return {key: meta_graph_pb2.SignatureDef.FromString(stored[key].AsStringBytes) for key in keys}
    return {}


def stateful(model: Any) -> list[str]:
    """Operations that keep something from one run to the next: variables, and layers with tensors for their state."""
    found = set()
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            name = _OPERATIONS[model.operatorCodes[operator.opcodeIndex].builtinCode]
            tensors = [subgraph.tensors[index] for index in operator.inputs if index >= 0]
            if name in _VARIABLES or any(tensor.isVariable for tensor in tensors):
                found.add(name)
    return sorted(found)


def operation_names(model: Any) -> list[str]:
    """As TFLite calls them, by operator code."""
    return [_OPERATIONS[code.builtinCode] for code in model.operatorCodes]


def describe(model: Any, calls: Mapping[str, Call], boundary: Mapping[int, str]) -> None:
    """Gives a parsed flatbuffer its signatures, and its tensors names: `boundary` at its ends, one each inside.

    Raises UnservableSignature.
    """
    _name_tensors(model, boundary)
    model.signatureDefs = [_native(name, call) for name, call in calls.items()]
    _attach(model, {name: _definition(model.subgraphs[0], call) for name, call in calls.items()})


def redescribe(model: Any, original: bytes) -> None:
    """Gives a parsed flatbuffer that was rewritten the names and signatures of the original again."""
    before, after = parsed(original).subgraphs[0], model.subgraphs[0]
    names = [tensor.name.decode() for tensor in before.tensors]
    # By place: a rewriter may let its signatures point at tensors that are no longer the subgraph's own ends.
    inputs = {names[old]: int(new) for old, new in zip(before.inputs, after.inputs, strict=True)}
    outputs = {names[old]: int(new) for old, new in zip(before.outputs, after.outputs, strict=True)}
    calls = {
        name: Call(
            {key: inputs[definition.inputs[key].name] for key in sorted(definition.inputs)},
            {key: outputs[definition.outputs[key].name] for key in sorted(definition.outputs)},
            definition.method_name,
        )
        for name, definition in read_signatures(original).items()
    }
    boundary = {index: name for side in (inputs, outputs) for name, index in side.items()}
    describe(model, calls, boundary)


def _name_tensors(model: Any, boundary: Mapping[int, str]) -> None:
    """The model's own names at the boundary, by which the server finds tensors; each once, and none made by chance."""
    taken: set[str] = set()
    for index, name in boundary.items():
        model.subgraphs[0].tensors[index].name = _unused(name, taken).encode()
    for number, subgraph in enumerate(model.subgraphs):
        subgraph.name = b"main" if number == 0 else f"subgraph_{number}".encode()
        for index, tensor in enumerate(subgraph.tensors):
            if number > 0 or index not in boundary:
                name = _CHANCE.sub(r"\1", (tensor.name or b"").decode(errors="replace"))
                tensor.name = _unused(name, taken).encode()


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _native(name: str, call: Call) -> Any:
    definition = schema.SignatureDefT()
    definition.signatureKey = name.encode()
    definition.subgraphIndex = 0
    definition.inputs, definition.outputs = [
        [_tensor_map(key, index) for key, index in side.items()] for side in (call.inputs, call.outputs)
    ]
    return definition


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry


def _definition(subgraph: Any, call: Call) -> Any:
    definition = meta_graph_pb2.SignatureDef(method_name=call.method)
    for side, tensors in ((definition.inputs, call.inputs), (definition.outputs, call.outputs)):
        for key, index in tensors.items():
            tensor = subgraph.tensors[index]
            side[key].name = tensor.name.decode()
            side[key].dtype = tf.as_dtype(_TYPES[tensor.type]).as_datatype_enum
            sizes = _sizes(tensor)
            # The server reads up to the first NUL byte, which an empty shape or a 0 would be.
            if sizes and 0 not in sizes:
                for size in sizes:
                    side[key].tensor_shape.dim.add(size=size)
    return definition


def _sizes(tensor: Any) -> list[int]:
    signature = tensor.shapeSignature
    shape = signature if signature is not None and len(signature) else tensor.shape
    return [int(size) for size in shape] if shape is not None else []


def _attach(model: Any, definitions: dict[str, Any]) -> None:
    """Puts the metadata entry in the place of one that is there."""
    builder = flexbuffers.Builder()
    with builder.Map():
        for name, definition in definitions.items():
            raw = definition.SerializeToString(deterministic=True)
            if b"\0" in raw:
                raise UnservableSignature(f"signature {name} cannot be written without a NUL byte")
            builder.Key(name)
            builder._WriteBlob(raw, append_zero=True, type_=flexbuffers.Type.STRING)
    content = np.frombuffer(bytes(builder.Finish()), np.uint8)
    for entry in model.metadata or []:
        if entry.name == METADATA.encode():
            model.buffers[entry.buffer].data = content
            return
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = content
    model.buffers.append(buffer)
    entry.name, entry.buffer = METADATA.encode(), len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
