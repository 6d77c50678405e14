"""The signatures of a SavedModel, read from its file alone, before TensorFlow starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from modelpress.api.errors import Invalid
from modelpress.compress import wire
from modelpress.compress.signature import Signature, Tensor

FILE_NAME = "saved_model.pb"
SERVE = "serve"
_INTERNAL_PREFIX = "__saved_model"


def read(directory: Path) -> dict[str, Signature]:
    """The signatures by name, sorted, of the graph tagged `serve`. Raises Invalid `NotAModel`."""
    path = directory / FILE_NAME
    try:
        saved = wire.SavedModel.FromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise not_a_model(path, f"it cannot be parsed ({error})") from error
    graph = next((graph for graph in saved.meta_graphs if SERVE in graph.meta_info_def.tags), None)
    if graph is None:
        raise not_a_model(path, f"it has no graph tagged {SERVE}")
    return {
        name: Signature(
            name=name,
            inputs=_tensors(graph.signature_def[name].inputs),
            outputs=_tensors(graph.signature_def[name].outputs),
            method=graph.signature_def[name].method_name,
        )
        for name in sorted(graph.signature_def)
        if not name.startswith(_INTERNAL_PREFIX)
    }


def not_a_model(path: Path, why: str) -> Invalid:
    """The error about a SavedModel that cannot be served."""
    return Invalid(
        "NotAModel",
        f"{path} is no servable SavedModel: {why}; export the model again (tf.saved_model.save or model.export)",
        field="spec.source.uri",
    )


def _tensors(infos: Any) -> dict[str, Tensor]:
    return {name: _tensor(infos[name]) for name in sorted(infos)}


def _tensor(info: Any) -> Tensor:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
    return Tensor(wire.DTYPES.get(info.dtype, f"type {info.dtype}"), sizes)
