"""A frozen graph as a SavedModel, its larger weights in half precision if wanted; equal graphs, equal bytes."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from modelpress.api.recipe import Quantize
from modelpress.compress import half, model
from modelpress.compress.graph import FrozenGraph
from modelpress.compress.half import Halved


def write(
    frozen: FrozenGraph, directory: Path, quantize: Quantize | None = None, *, field: str = ""
) -> tuple[str, ...]:
    """Writes a SavedModel into `directory`, with weights as the scheme Float16 or BFloat16 says, else float32.

    Returns notes for people. `field` is the step's path, for errors. Raises Invalid `UnknownLayer`.
    """
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = tf.__version__
    for name, definition in frozen.signatures.items():
        meta.signature_def[name].CopyFrom(definition)
    notes: tuple[str, ...] = ()
    if quantize is None:
        meta.graph_def.CopyFrom(frozen.graph)
    else:
        spared = half.matching(frozen.graph, quantize.exclude_layers, field=field)
        halved = Halved(frozen.graph, quantize.scheme, spared)
        meta.graph_def.CopyFrom(halved.graph)
        halved.describe(meta)
        halved.write(directory)
        if halved.kept:
            notes = (f"left float32, as {quantize.scheme} cannot hold their values: {', '.join(halved.kept[:5])}",)
    (directory / model.FILE_NAME).write_bytes(saved.SerializeToString(deterministic=True))
    return notes
