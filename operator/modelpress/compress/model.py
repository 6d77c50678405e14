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

from modelpress.compress import signature_file
from modelpress.compress.rows import Array
from modelpress.compress.signature import Signature

FILE_NAME = signature_file.FILE_NAME


class OpenedModel:
    """A loaded SavedModel whose variables steps may change; the files stay as they are."""

    def __init__(self, directory: Path, names: tuple[str, ...]) -> None:
        self.directory = directory
        declared = signature_file.read(directory)
        self.signatures: dict[str, Signature] = {name: declared[name] for name in names}
        with quiet():
            self.loaded: Any = tf.saved_model.load(str(directory), tags=[signature_file.SERVE])

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
    """The signatures of a SavedModel, read from its file without loading it. Raises Invalid `NotAModel`."""
    return signature_file.read(directory)


def meta_graph(directory: Path) -> Any:
    """The MetaGraphDef that servers load (signature_file.served). Raises Invalid `NotAModel`."""
    path = directory / FILE_NAME
    try:
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise signature_file.not_a_model(path, f"it cannot be parsed ({error})") from error
    return signature_file.served(saved.meta_graphs, path)


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
