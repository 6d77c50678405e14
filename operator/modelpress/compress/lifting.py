"""A frozen graph as a SavedModel whose weights are variables again: it can be trained on, under the same signatures.

The SavedModel is written by hand, as TensorFlow 1 did it: signatures keep their names, methods and tensors, and equal
graphs give equal bytes, neither of which `tf.saved_model.save` promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from modelpress.compress import model, restoration
from modelpress.compress.graph import FrozenGraph
from modelpress.compress.restoration import Restoration, Variable

_KERNELS = {
    "BatchMatMul": (0, 1),
    "BatchMatMulV2": (0, 1),
    "BatchMatMulV3": (0, 1),
    "BiasAdd": (1,),
    "Conv2D": (1,),
    "Conv2DBackpropInput": (1,),
    "Conv3D": (1,),
    "DepthwiseConv2dNative": (1,),
    "Einsum": (0, 1),
    "FusedBatchNormV3": (1, 2),
    "GatherV2": (0,),
    "MatMul": (0, 1),
}
"""Operation -> the operands that are weights where they are constant."""
_ADDS = ("Add", "AddV2")
_PASSED = ("Cast", "ExpandDims", "Identity", "Reshape", "Squeeze")


def weights(graph: Any) -> dict[str, bool]:
    """Constants that layers use as weights -> whether gradients change them: for graphs whose variables are not known.

    Kernels, tables, biases, and the scale and offset of batch normalisation; its statistics are variables that no
    gradient changes.
    """
    nodes = {node.name: node for node in graph.node}
    found = {}
    for node in graph.node:
        places = _KERNELS.get(node.op, ())
        if node.op in _ADDS and any(_source(nodes, name).op in _KERNELS for name in node.input):
            places = (0, 1)
        for name in (node.input[place] for place in places):
            source = _source(nodes, name)
            if source.op == "Const" and _is_float(source) and source.attr["value"].tensor.tensor_shape.dim:
                found[source.name] = True
        for name in node.input[3:5] if node.op == "FusedBatchNormV3" else ():
            if nodes[name.split(":")[0]].op == "Const":
                found.setdefault(name.split(":")[0], False)
    return found


def write(frozen: FrozenGraph, variables: Mapping[str, bool], directory: Path) -> None:
    """Writes a SavedModel into `directory`. `variables`: names of constants -> whether training changes them."""
    lifted = _Lifted(frozen.graph, variables)
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = tf.__version__
    for name, definition in frozen.signatures.items():
        meta.signature_def[name].CopyFrom(definition)
    meta.graph_def.CopyFrom(lifted.graph)
    lifted.describe(meta)
    directory.mkdir(exist_ok=True)
    (directory / model.FILE_NAME).write_bytes(saved.SerializeToString(deterministic=True))
    lifted.write_checkpoint(directory)


class _Lifted:
    """The graph with variables in the place of constants, and the operations that save and restore them."""

    def __init__(self, graph: Any, variables: Mapping[str, bool]) -> None:
        self.graph = graph_pb2.GraphDef(versions=graph.versions, library=graph.library)
        self._values: dict[str, Any] = {}
        self._trainable = variables
        self._restoration = Restoration(self.graph, "checkpoint", [node.name for node in graph.node])
        for node in graph.node:
            if node.name in variables:
                self._lift(node)
            else:
                self.graph.node.append(node)
        if self._values:
            self._restore()

    def describe(self, meta: Any) -> None:
        """Tells loaders how to restore, and which variables there are."""
        if self._values:
            self._restoration.describe(meta, map(self._variable, self._values))

    def write_checkpoint(self, directory: Path) -> None:
        """Writes the checkpoint of the SavedModel in `directory`."""
        if self._values:
            restoration.save(self._values, directory)

    def _variable(self, name: str) -> Variable:
        return Variable(name, name, f"{self._restoration.root}/{name}/read", trainable=self._trainable[name])

    def _lift(self, node: Any) -> None:
        """A variable of the constant's name; who read the constant reads the operation that reads the variable."""
        dtype, proto = node.attr["dtype"].type, node.attr["value"].tensor
        self._values[node.name] = tf.make_ndarray(proto)
        handle = self.graph.node.add(name=node.name, op="VarHandleOp")
        handle.attr["dtype"].type = dtype
        handle.attr["shape"].shape.CopyFrom(proto.tensor_shape)
        handle.attr["shared_name"].s = node.name.encode()
        read = self.graph.node.add(name=self._variable(node.name).reader, op="ReadVariableOp", input=[node.name])
        read.attr["dtype"].type = dtype

    def _restore(self) -> None:
        for node in self.graph.node:
            if not node.name.startswith(f"{self._restoration.root}/"):
                node.input[:] = [self._variable(name).reader if name in self._values else name for name in node.input]
        self._restoration.begin()
        assigned = []
        for name, value in self._values.items():
            dtype = tf.as_dtype(value.dtype).as_datatype_enum
            restored = self._restoration.read(name, "value", dtype)
            assigned.append(self._restoration.assign(self._variable(name), restored, dtype))
        self._restoration.end(assigned)


def _source(nodes: Mapping[str, Any], name: str) -> Any:
    """The node behind a tensor, without what only changes its form."""
    node = nodes[name.lstrip("^").split(":")[0]]
    while node.op in _PASSED and node.input:
        node = nodes[node.input[0].split(":")[0]]
    return node


def _is_float(node: Any) -> bool:
    return bool(tf.as_dtype(node.attr["dtype"].type).is_floating)
