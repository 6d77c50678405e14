"""A frozen graph as a SavedModel, its larger weights as float16 if wanted; equal graphs, equal bytes."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from modelpress.compress import model
from modelpress.compress.graph import FrozenGraph
from modelpress.compress.half import Halved


def write(frozen: FrozenGraph, directory: Path, *, half: bool) -> tuple[str, ...]:
    """Writes a SavedModel into `directory`; `half` stores weights as float16. Returns notes for people."""
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = tf.__version__
    for name, definition in frozen.signatures.items():
        meta.signature_def[name].CopyFrom(definition)
    notes: tuple[str, ...] = ()
    if half:
        halved = Halved(frozen.graph)
        meta.graph_def.CopyFrom(halved.graph)
        halved.describe(meta)
        halved.write(directory)
        if halved.kept:
            notes = (f"left float32, as float16 cannot hold their values: {', '.join(halved.kept[:5])}",)
    else:
        meta.graph_def.CopyFrom(frozen.graph)
    (directory / model.FILE_NAME).write_bytes(saved.SerializeToString(deterministic=True))
    return notes
