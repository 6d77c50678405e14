"""Keras 3 models become SavedModels whose tensors carry the names of inputs and output layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.checkpoint import graph_view

from modelpress.api.errors import Invalid
from modelpress.compress import model
from modelpress.compress.source import URI_FIELD

SIGNATURE = "serving_default"


def export(path: Path, directory: Path) -> None:
    """Writes the model as SavedModel into `directory`. Raises Invalid, see `source.write_float32`."""
    loaded = _load(path)
    inputs = _inputs(loaded, path)
    if isinstance(loaded, keras.Sequential) and loaded._functional is not None:
        loaded._functional.name = loaded.name  # Keras numbers this inner model anew each time
    outputs = _output_names(loaded)

    def answer(features: dict[str, Any]) -> dict[str, Any]:
        answers = loaded(_fed(loaded, [features[name] for name in inputs]), training=False)
        return dict(zip(outputs, tf.nest.flatten(answers), strict=True))

    with model.quiet():
        function = tf.function(answer, input_signature=[inputs])
        tf.saved_model.save(_holder(loaded, function), str(directory), signatures={SIGNATURE: function})
        _settle(directory)


def _holder(loaded: Any, function: Any) -> Any:
    """What a model's function reads, without Keras' own objects.

    A Keras variable saves itself as a copy, which a server would restore in place of the one that the function reads.
    """
    read = {id(variable) for variable in function.get_concrete_function().variables}
    holder = tf.Module()
    holder.weights = [variable.value for variable in loaded.variables if id(variable.value) in read]
    holder.resources = [
        found
        for found in graph_view.ObjectGraphView(loaded).breadth_first_traversal()[0]
        if isinstance(found, tf.saved_model.experimental.TrackableResource)
    ]
    return holder


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
                "CustomLayers",
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
    """Equal models give equal bytes, whatever the process did before: functions are numbered anew, maps in order.

    The fingerprint, which is optional, holds a random id and goes.
    """
    path = directory / model.FILE_NAME
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta in saved.meta_graphs:
        names = sorted((function.signature.name for function in meta.graph_def.library.function), key=_number)
        _rename(meta, {name: f"function_{number}" for number, name in enumerate(names)})
    path.write_bytes(saved.SerializeToString(deterministic=True))
    (directory / "fingerprint.pb").unlink(missing_ok=True)


def _number(function_name: str) -> tuple[int, str]:
    """TensorFlow counts functions in the order of their making."""
    stem, _, number = function_name.rpartition("_")
    return (int(number), stem) if number.isdigit() else (0, function_name)


def _rename(meta: Any, names: dict[str, str]) -> None:
    library = meta.graph_def.library
    for nodes in [meta.graph_def.node, *(function.node_def for function in library.function)]:
        for node in nodes:
            node.op = names.get(node.op, node.op)
            _rename_attributes(node.attr, names)
    for function in library.function:
        function.signature.name = names[function.signature.name]
        for attributes in [function.attr, *(argument.attr for argument in function.arg_attr.values())]:
            _rename_attributes(attributes, names)
    library.function.sort(key=lambda function: _number(function.signature.name))
    for gradient in library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)
    objects = meta.object_graph_def
    for node in objects.nodes:
        match node.WhichOneof("kind"):
            case "function":
                node.function.concrete_functions[:] = [names[name] for name in node.function.concrete_functions]
            case "bare_concrete_function":
                bare = node.bare_concrete_function
                bare.concrete_function_name = names[bare.concrete_function_name]
            case "captured_tensor":
                node.captured_tensor.concrete_function = names[node.captured_tensor.concrete_function]
    concrete = {names[name]: found.SerializeToString() for name, found in objects.concrete_functions.items()}
    objects.concrete_functions.clear()
    for name, content in concrete.items():
        objects.concrete_functions[name].ParseFromString(content)


def _rename_attributes(attributes: Any, names: dict[str, str]) -> None:
    attributes.pop("_gradient_op_type", None)
    if "_user_specified_name" in attributes and attributes["_user_specified_name"].s.isdigit():
        del attributes["_user_specified_name"]
    for value in attributes.values():
        for function in [value.func] if value.HasField("func") else value.list.func:
            function.name = names.get(function.name, function.name)
