"""A frozen graph as a SavedModel of one file, its larger weights as float16 if wanted; equal graphs, equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from modelpress.compress import model
from modelpress.compress.graph import FrozenGraph

HALF_FROM_VALUES = 256
"""Smaller constants stay float32: they save nothing, and an epsilon would become zero."""


def write(frozen: FrozenGraph, directory: Path, *, half: bool) -> tuple[str, ...]:
    """Writes saved_model.pb into `directory`; `half` stores weights as float16. Returns notes for people."""
    notes: tuple[str, ...] = ()
    graph = frozen.graph
    if half:
        graph, kept = _halved(graph)
        if kept:
            notes = (f"left float32, as float16 cannot hold their values: {', '.join(kept[:5])}",)
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = tf.__version__
    meta.graph_def.CopyFrom(graph)
    for name, definition in frozen.signatures.items():
        meta.signature_def[name].CopyFrom(definition)
    (directory / model.FILE_NAME).write_bytes(saved.SerializeToString(deterministic=True))
    return notes


def _halved(graph: Any) -> tuple[Any, list[str]]:
    """The graph with each large float32 constant as float16 and a cast, which servers fold when they load it."""
    halved = graph_pb2.GraphDef(versions=graph.versions, library=graph.library)
    kept: list[str] = []
    for node in graph.node:
        weights = _weights(node)
        if weights is None:
            halved.node.append(node)
            continue
        half = _as_half(weights)
        if half is None:
            kept.append(node.name)
            halved.node.append(node)
            continue
        stored = halved.node.add(name=f"{node.name}/half", op="Const")
        stored.attr["dtype"].type = tf.float16.as_datatype_enum
        stored.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(half))
        cast = halved.node.add(name=node.name, op="Cast", input=[stored.name])
        cast.attr["SrcT"].type = tf.float16.as_datatype_enum
        cast.attr["DstT"].type = tf.float32.as_datatype_enum
        cast.attr["Truncate"].b = False
    return halved, kept


def _as_half(weights: Any) -> Any:
    """The values as float16; None where they overflow, or are all so small that little of them would be left."""
    with np.errstate(over="ignore"):
        half = weights.astype(np.float16)
    overflows = not np.array_equal(np.isfinite(half), np.isfinite(weights))
    vanishes = 0 < np.abs(weights).max() < np.finfo(np.float16).smallest_normal
    return None if overflows or vanishes else half


def _weights(node: Any) -> Any:
    """The values of a constant that is worth halving, else None."""
    if node.op != "Const" or node.attr["dtype"].type != tf.float32.as_datatype_enum:
        return None
    proto = node.attr["value"].tensor
    values = 1
    for size in proto.tensor_shape.dim:
        values *= size.size
    return tf.make_ndarray(proto) if values >= HALF_FROM_VALUES and proto.tensor_content else None
