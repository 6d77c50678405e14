"""Variables of a SavedModel that is written by hand: the operations that restore them, and their checkpoint.

Servers restore by a node of the graph (SaverDef), as TensorFlow 1 wrote it; every operation lies below one name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import saver_pb2

PREFIX = "variables/variables"
"""Where loaders look for a SavedModel's checkpoint."""
_STRING = tf.string.as_datatype_enum


class Variable(NamedTuple):
    """What loaders are told about one."""

    weight: str
    """The constant that it was, and its key in the checkpoint."""
    handle: str
    reader: str
    """Nodes."""
    trainable: bool = False


class Restoration:
    """The operations of a GraphDef that give its variables their values."""

    def __init__(self, graph: Any, wanted: str, taken: Iterable[str]) -> None:
        """They lie below the name `wanted`, or one like it that none of the names `taken` has."""
        self._graph = graph
        self.root = _free(wanted, {name.lower() for name in taken})
        self._path = self._slices = ""

    def begin(self) -> None:
        """Adds the path of the checkpoint."""
        default = self._string("default", "")
        path = self.add("path", "PlaceholderWithDefault", [default])
        path.attr["dtype"].type = _STRING
        path.attr["shape"].shape.SetInParent()
        self._path, self._slices = path.name, self._string("slices", [""])

    def read(self, weight: str, kind: str, dtype: int, *, after: Sequence[str] = ()) -> str:
        """Adds a node `<weight>/<kind>` that reads the weight from the checkpoint; returns its name."""
        key = self._string(f"{weight}/key", [weight])
        restored = self.add(f"{weight}/{kind}", "RestoreV2", [self._path, key, self._slices, *after])
        restored.attr["dtypes"].list.type.append(dtype)
        return str(restored.name)

    def assign(self, variable: Variable, value: str, dtype: int) -> str:
        """Adds a node that gives the variable the value of a node; returns its name."""
        assigned = self.add(f"{variable.weight}/assign", "AssignVariableOp", [variable.handle, value])
        assigned.attr["dtype"].type = dtype
        return str(assigned.name)

    def end(self, assigned: Iterable[str]) -> None:
        """Adds the node that loaders run, after these."""
        self.add("all", "NoOp", [f"^{name}" for name in assigned])

    def add(self, name: str, op: str, inputs: Sequence[str]) -> Any:
        """Adds a node below the root."""
        return self._graph.node.add(name=f"{self.root}/{name}", op=op, input=inputs)

    def describe(self, meta: Any, variables: Iterable[Variable]) -> None:
        """Tells loaders how to restore, and which variables there are."""
        path = f"{self.root}/path:0"
        meta.saver_def.CopyFrom(
            saver_pb2.SaverDef(
                filename_tensor_name=path,
                save_tensor_name=path,
                restore_op_name=f"{self.root}/all",
                version=saver_pb2.SaverDef.V2,
            )
        )
        for variable in variables:
            definition = variable_pb2.VariableDef(
                variable_name=f"{variable.handle}:0",
                initializer_name=f"{self.root}/{variable.weight}/assign",
                snapshot_name=f"{variable.reader}:0",
                is_resource=True,
                trainable=variable.trainable,
            )
            content = definition.SerializeToString(deterministic=True)
            for collection in ("variables", *(("trainable_variables",) if variable.trainable else ())):
                meta.collection_def[collection].bytes_list.value.append(content)

    def _string(self, name: str, value: str | list[str]) -> str:
        node = self.add(name, "Const", [])
        node.attr["dtype"].type = _STRING
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.string))
        return str(node.name)


def save(values: Mapping[str, Any], directory: Path) -> None:
    """Writes the checkpoint of the SavedModel in `directory`: arrays by key, sorted."""
    prefix, names = directory / PREFIX, sorted(values)
    prefix.parent.mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(values[name]) for name in names],
    )


def _free(wanted: str, taken: set[str]) -> str:
    candidate, number = wanted, 1
    while any(name == candidate or name.startswith(f"{candidate}/") for name in taken):
        candidate, number = f"{wanted}_{number}", number + 1
    return candidate
