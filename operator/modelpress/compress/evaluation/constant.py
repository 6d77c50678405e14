"""A model that takes what another takes and answers zeros at once: what its requests cost, the server itself costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from modelpress.api.artifact import Form
from modelpress.compress import model, tflite
from modelpress.compress.model import OpenedModel
from modelpress.compress.signature import Signature, Tensor


def write(signature: Signature, form: Form, directory: Path) -> None:
    """Writes a version directory. Raises NotConvertible where TFLite cannot hold even that."""
    if form == "SavedModel":
        _save(signature, directory)
        return
    saved = directory.parent.with_name(f"{directory.parent.name}-saved")
    _save(signature, saved)
    directory.mkdir(parents=True)
    tflite.write(tflite.convert(OpenedModel(saved, (signature.name,)), "Float32"), directory)


def _save(signature: Signature, directory: Path) -> None:
    module = tf.Module()
    specifications = {
        name: tf.TensorSpec(tensor.shape, tf.as_dtype(tensor.dtype), name=name)
        for name, tensor in signature.inputs.items()
    }

    def answer(**inputs: Any) -> dict[str, Any]:
        return {name: _zeros(tensor, inputs) for name, tensor in signature.outputs.items()}

    function = tf.function(answer).get_concrete_function(**specifications)
    with model.quiet():
        tf.saved_model.save(module, str(directory), signatures={signature.name: function})


def _zeros(output: Tensor, inputs: Mapping[str, Any]) -> Any:
    """An axis of any size is as long as that axis of the first input that has one of any size there, else 1."""
    sizes = [_size(axis, size, inputs) for axis, size in enumerate(output.shape or ())]
    dtype = tf.as_dtype(output.dtype)
    value = tf.constant("" if dtype == tf.string else 0, dtype)
    return tf.fill(tf.stack(sizes), value) if sizes else value


def _size(axis: int, size: int | None, inputs: Mapping[str, Any]) -> Any:
    if size is not None:
        return size
    for value in inputs.values():
        if value.shape.rank is not None and value.shape.rank > axis and value.shape[axis] is None:
            return tf.shape(value)[axis]
    return 1
