"""Keras 3 models become SavedModels whose tensors carry the names of inputs and output layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2

from modelpress.api.errors import Invalid
from modelpress.compress import model
from modelpress.compress.source import URI_FIELD

SIGNATURE = "serving_default"


def export(path: Path, directory: Path) -> None:
    """Writes the model as SavedModel into `directory`. Raises Invalid, see `source.write_float32`."""
    loaded = _load(path)
    inputs = _inputs(loaded, path)
    outputs = _output_names(loaded)

    def answer(features: dict[str, Any]) -> dict[str, Any]:
        answers = loaded(_fed(loaded, [features[name] for name in inputs]), training=False)
        return dict(zip(outputs, tf.nest.flatten(answers), strict=True))

    holder = tf.Module()
    holder.model = loaded
    with model.quiet():
        function = tf.function(answer, input_signature=[inputs])
        tf.saved_model.save(holder, str(directory), signatures={SIGNATURE: function})
        _settle(directory)


def _load(path: Path) -> Any:
    try:
        with model.quiet():
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the layer at fault raises
        text = " ".join(str(error).split())
        if "safe_mode" in text or "unsafe" in text.lower() or "Lambda" in text:
            raise Invalid(
                "CodeNotTrusted",
                f"{path.name} carries code (a Lambda layer or the like), which is not run; "
                "replace it by layers of Keras, or export the model as SavedModel where you trust it",
                field="spec.source.trust",
            ) from error
        if "Could not locate" in text or "register_keras_serializable" in text:
            raise Invalid(
                "UnknownLayers",
                f"{path.name} needs layers that are not part of Keras ({text[:200]}); export the model as SavedModel",
                field=URI_FIELD,
            ) from error
        raise Invalid(
            "NotAModel", f"{path.name} cannot be loaded by Keras {keras.__version__} ({text[:300]})", field=URI_FIELD
        ) from error


def _inputs(loaded: Any, path: Path) -> dict[str, Any]:
    if not getattr(loaded, "built", False) or not getattr(loaded, "inputs", None):
        raise Invalid(
            "NotAModel",
            f"{path.name} does not know its inputs; build it before saving, or export it as SavedModel",
            field=URI_FIELD,
        )
    return {
        tensor.name.split(":")[0]: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name.split(":")[0])
        for tensor in loaded.inputs
    }


def _fed(loaded: Any, tensors: list[Any]) -> Any:
    """The tensors, in the order of `loaded.inputs`, in the structure that the model is called with."""
    structure = getattr(loaded, "_inputs_struct", None)
    if structure is None:
        return tensors[0] if len(tensors) == 1 else tensors
    return keras.tree.pack_sequence_as(structure, tensors)


def _output_names(loaded: Any) -> list[str]:
    """Names of the layers that give the outputs, numbered where one layer gives several."""
    if isinstance(loaded, keras.Sequential):
        return [loaded.layers[-1].name]
    found: list[str] = []
    for name in getattr(loaded, "output_names", None) or [f"output_{index}" for index in range(len(loaded.outputs))]:
        found.append(name if name not in found else f"{name}_{found.count(name)}")
    return found


def _settle(directory: Path) -> None:
    """Equal models give equal bytes: maps in order, and a fingerprint without a random id."""
    graph = directory / model.FILE_NAME
    saved = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    graph.write_bytes(saved.SerializeToString(deterministic=True))
    fingerprint = directory / "fingerprint.pb"
    if fingerprint.exists():
        written = fingerprint_pb2.FingerprintDef.FromString(fingerprint.read_bytes())
        written.ClearField("uuid")
        fingerprint.write_bytes(written.SerializeToString(deterministic=True))
