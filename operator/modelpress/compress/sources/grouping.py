"""Grouped convolutions of Keras, which it has compiled by XLA and servers do not: as the plain operations they hold.

Keras asks for the compiler because TensorFlow's kernels for CPUs once knew no groups; those of the pinned TensorFlow,
which are those of the pinned server, do, and give the same numbers. Others (of three dimensions) stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

from modelpress.compress import model
from modelpress.storage import durable

COMPILED = "_XlaMustCompile"
"""Attribute of functions, and of their calls, that only XLA may run."""
_WITH_IT = (COMPILED, "_noinline")
"""What tf.function writes for it; a call that stays a call is nothing that TFLite knows."""
_AROUND = frozenset(
    {
        "BatchToSpaceND",
        "Const",
        "ExpandDims",
        "Identity",
        "NoOp",
        "ReadVariableOp",
        "SpaceToBatchND",
        "Squeeze",
    }
)


def compiled(graph: Any) -> dict[str, str]:
    """Functions of a GraphDef that hold a convolution and nothing else but what Keras puts around it -> its kind."""
    found = {}
    for function in graph.library.function:
        inside = [node.op for node in function.node_def if node.op not in _AROUND]
        if COMPILED in function.attr and len(inside) == 1 and inside[0] in ("Conv2D", "Conv3D"):
            found[function.signature.name] = inside[0]
    return found


def released(directory: Path) -> int:
    """Takes the wish for XLA from the grouped convolutions of the SavedModel in `directory`; how many there were."""
    path = directory / model.FILE_NAME
    model.meta_graph(directory)
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    count = sum(_released(meta.graph_def) for meta in saved.meta_graphs)
    if count:
        durable.write(path, saved.SerializeToString(deterministic=True))
    return count


def _released(graph: Any) -> int:
    plain = {name for name, kind in compiled(graph).items() if kind == "Conv2D"}
    for function in graph.library.function:
        if function.signature.name in plain:
            _forget(function.attr)
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            if COMPILED in node.attr and node.attr["f"].func.name in plain:
                _forget(node.attr)
    return len(plain)


def _forget(attributes: Any) -> None:
    for name in _WITH_IT:
        if name in attributes:
            del attributes[name]
