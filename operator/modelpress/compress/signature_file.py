"""The signatures of a SavedModel, read from its file alone, before TensorFlow starts."""

from __future__ import annotations

from collections.abc import Iterable
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
    """The signatures by name, sorted, of the graph that servers load. Raises Invalid `NotAModel`."""
    graph = _graph(directory)
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


def served(graphs: Iterable[Any], path: Path) -> Any:
    """The first MetaGraphDef tagged `serve` and nothing else: servers load no other.

    Models for TPUs, and those of Estimators, have several. Raises Invalid `NotAModel`.
    """
    others = []
    for graph in graphs:
        tags = set(graph.meta_info_def.tags)
        if tags == {SERVE}:
            return graph
        others.append(f"{{{', '.join(sorted(tags))}}}")
    there = " and ".join(others) or "none at all"
    raise not_a_model(
        path,
        f"it has no graph tagged {SERVE} alone, the only one that servers load, but {there}",
        f"save it again with the tags {{{SERVE}}} (tf.saved_model.save and model.export do)",
    )


def not_a_model(
    path: Path, why: str, cure: str = "export the model again (tf.saved_model.save or model.export)"
) -> Invalid:
    """The error about a SavedModel that cannot be served."""
    return Invalid("NotAModel", f"{path} is no servable SavedModel: {why}; {cure}", field="spec.source.uri")


def _graph(directory: Path) -> Any:
    path = directory / FILE_NAME
    try:
        saved = wire.SavedModel.FromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise not_a_model(path, f"it cannot be parsed ({error})") from error
    return served(saved.meta_graphs, path)


def _tensors(infos: Any) -> dict[str, Tensor]:
    return {name: _tensor(infos[name]) for name in sorted(infos)}


def _tensor(info: Any) -> Tensor:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
    return Tensor(wire.DTYPES.get(info.dtype, f"type {info.dtype}"), sizes)
