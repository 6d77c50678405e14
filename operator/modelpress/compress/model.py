"""A SavedModel opened for work: its signatures, its variables, and calls by name."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from modelpress.api.errors import Invalid
from modelpress.compress.dataset import Array
from modelpress.compress.signature import Signature, Tensor

FILE_NAME = "saved_model.pb"
_INTERNAL_PREFIX = "__saved_model"
_SERVE = "serve"


class OpenedModel:
    """A loaded SavedModel whose variables steps may change; the files stay as they are."""

    def __init__(self, directory: Path, names: tuple[str, ...]) -> None:
        declared = signatures(directory)
        self.signatures: dict[str, Signature] = {name: declared[name] for name in names}
        with quiet():
            self.loaded: Any = tf.saved_model.load(str(directory))

    def function(self, name: str) -> Any:
        """The concrete function of a signature: keyword tensors in, a mapping of tensors out."""
        return self.loaded.signatures[name]

    def call(self, name: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of a signature for rows of its inputs."""
        declared = self.signatures[name].inputs
        fed = {key: tf.constant(inputs[key], dtype=tensor.dtype) for key, tensor in declared.items()}
        return {key: np.asarray(value) for key, value in self.function(name)(**fed).items()}

    def variables(self) -> list[Any]:
        """The variables that the signatures read, each once, in an order that depends on nothing but the model."""
        found = {variable.ref(): variable for name in self.signatures for variable in self.function(name).variables}
        return sorted(found.values(), key=lambda variable: (variable.name, tuple(variable.shape)))


def signatures(directory: Path) -> dict[str, Signature]:
    """The signatures of a SavedModel, read from its graph without loading it. Raises Invalid `NotAModel`."""
    definitions = meta_graph(directory).signature_def
    return {
        name: Signature(
            name=name,
            inputs={key: tensor(info) for key, info in sorted(definitions[name].inputs.items())},
            outputs={key: tensor(info) for key, info in sorted(definitions[name].outputs.items())},
            method=definitions[name].method_name,
        )
        for name in sorted(definitions)
        if not name.startswith(_INTERNAL_PREFIX)
    }


def meta_graph(directory: Path) -> Any:
    """The MetaGraphDef tagged `serve`, else the only one. Raises Invalid `NotAModel`."""
    path = directory / FILE_NAME
    try:
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise _not_a_model(path, f"it cannot be parsed ({error})") from error
    for graph in saved.meta_graphs:
        if _SERVE in graph.meta_info_def.tags:
            return graph
    raise _not_a_model(path, f"it has no graph tagged {_SERVE}")


def tensor(info: Any) -> Tensor:
    """What a TensorInfo of a signature says."""
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(None if size.size < 0 else int(size.size) for size in shape.dim)
    return Tensor(tf.as_dtype(info.dtype).name, sizes)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TensorFlow's warnings about its own deprecations from the user, who cannot act on them."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _not_a_model(path: Path, why: str) -> Invalid:
    return Invalid(
        "NotAModel",
        f"{path} is no servable SavedModel: {why}; export the model again (tf.saved_model.save or model.export)",
        field="spec.source.uri",
    )
