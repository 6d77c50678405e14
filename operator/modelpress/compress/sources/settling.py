"""A SavedModel written by TensorFlow, without what depends on the process that wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

from modelpress.compress import signature_file


def settle(directory: Path) -> None:
    """Equal models give equal bytes, whatever the process did before: functions are numbered anew, maps in order.

    The fingerprint, which is optional, holds a random id and goes.
    """
    path = directory / signature_file.FILE_NAME
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
