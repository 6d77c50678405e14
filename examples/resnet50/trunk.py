"""The trunk of open_nsfw, a ResNet-50 at half width with trained weights, rebuilt in Keras from its ONNX file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graph
import tf_keras

layers = tf_keras.layers
COLOURS = 3
STEM = "stem"
"""Name of the first convolution."""


def features(content: bytes, image: Any) -> Any:
    """Its pooled features [n, 1024] of images [n, height, width, 3], blue first, less the mean of its training."""
    nodes, weights = onnx_graph.read(content)
    values: dict[str, Any] = {}
    made = {"Transpose": lambda *_: image, "Conv": _conv, "Relu": _relu, "MaxPool": _pool, "Add": _add}
    for node in nodes:
        if node.op_type == "AveragePool":
            return layers.GlobalAveragePooling2D()(values[node.input[0]])
        values[node.output[0]] = made[node.op_type](node, values, weights)
    raise ValueError("the graph has no AveragePool")


def _conv(node: Any, values: dict[str, Any], weights: dict[str, np.ndarray]) -> Any:
    options = onnx_graph.attributes(node)
    kernel = weights[node.input[1]].transpose(2, 3, 1, 0)
    name = STEM if kernel.shape[2] == COLOURS else None
    layer = layers.Conv2D(kernel.shape[-1], kernel.shape[:2], options["strides"], name=name)
    found = layer(_padded(values[node.input[0]], options))
    layer.set_weights([kernel, weights[node.input[2]]])
    return found


def _pool(node: Any, values: dict[str, Any], _: dict[str, np.ndarray]) -> Any:
    """Zeros pad as well as nothing would: what is pooled comes from a ReLU."""
    options = onnx_graph.attributes(node)
    layer = layers.MaxPooling2D(options["kernel_shape"], options["strides"])
    return layer(_padded(values[node.input[0]], options))


def _padded(value: Any, options: dict[str, Any]) -> Any:
    top, left, bottom, right = options.get("pads") or (0, 0, 0, 0)
    pads = ((top, bottom), (left, right))
    return layers.ZeroPadding2D(pads)(value) if top + left + bottom + right else value


def _relu(node: Any, values: dict[str, Any], _: dict[str, np.ndarray]) -> Any:
    return layers.ReLU()(values[node.input[0]])


def _add(node: Any, values: dict[str, Any], _: dict[str, np.ndarray]) -> Any:
    return layers.Add()([values[name] for name in node.input])
