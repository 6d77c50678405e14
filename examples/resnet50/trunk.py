"""The trunk of open_nsfw, a ResNet-50 at half width with trained weights, rebuilt in Keras from its ONNX file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graph
import tf_keras

layers = tf_keras.layers
WHITE = 255
"""The greatest pixel of the images that it was trained on."""


def features(content: bytes, image: Any) -> Any:
    """Its pooled features [n, 1024] of images [n, height, width, 3]: blue first, (pixel - mean of its training) / 255.

    It was trained on pixels up to 255, with weights below 0.006 in its first layer, which no threshold for the others
    would spare and no learning rate for the others would suit; here the first layer has weights 255 times as large.
    """
    nodes, weights = onnx_graph.read(content)
    first = next(node for node in nodes if node.op_type == "Conv")
    weights[first.input[1]] = weights[first.input[1]] * np.float32(WHITE)
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
    layer = layers.Conv2D(kernel.shape[-1], kernel.shape[:2], options["strides"])
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
