"""examples/resnet50: what is rebuilt from ONNX computes what ONNX says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[3] / "examples" / "resnet50"))

import onnx_graph
import tf_keras
import trunk

FLOAT = 1
KERNELS = {"stem": (4, 3, 3, 3), "deep": (4, 4, 3, 3)}


def a_graph(kernels: dict[str, np.ndarray]) -> bytes:
    """A stem with stride 2, pooling, and a residual block, as ONNX bytes."""
    model = onnx_graph._message("Model")()
    for name, kernel in kernels.items():
        bias = np.linspace(-1, 1, kernel.shape[0], dtype=np.float32)
        for title, array in ((name, kernel), (f"{name}_bias", bias)):
            model.graph.initializer.add(name=title, dims=array.shape, data_type=FLOAT, raw_data=array.tobytes())
    add(model, "Transpose", ["image"], "moved", perm=[0, 3, 1, 2])
    add(model, "Conv", ["moved", "stem", "stem_bias"], "c1", strides=[2, 2], pads=[1, 1, 1, 1])
    add(model, "Relu", ["c1"], "r1")
    add(model, "MaxPool", ["r1"], "p1", strides=[2, 2], kernel_shape=[3, 3], pads=[0, 0, 1, 1])
    add(model, "Conv", ["p1", "deep", "deep_bias"], "c2", strides=[1, 1], pads=[1, 1, 1, 1])
    add(model, "Add", ["c2", "p1"], "s1")
    add(model, "AveragePool", ["s1"], "pooled", kernel_shape=[3, 3])
    return bytes(model.SerializeToString())


def add(model: Any, operation: str, inputs: list[str], output: str, **attributes: list[int]) -> None:
    node = model.graph.node.add(op_type=operation, input=inputs, output=[output])
    for name, value in attributes.items():
        node.attribute.add(name=name, ints=value)


def windows(image: np.ndarray, pads: tuple[int, int], size: int, stride: int) -> np.ndarray:
    """[channels, rows, columns] -> [channels, rows, columns, size, size]."""
    padded = np.pad(image, [(0, 0), pads, pads])
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]


def convolved(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    bias = np.linspace(-1, 1, len(kernel))[:, None, None]
    return np.einsum("crskl,ockl->ors", windows(image, (1, 1), 3, stride), kernel) + bias


def test_the_rebuilt_trunk_computes_of_scaled_pixels_what_the_graph_does_of_pixels() -> None:
    chance = np.random.default_rng(0)
    kernels = {name: chance.normal(size=shape).astype(np.float32) for name, shape in KERNELS.items()}
    photo = chance.normal(size=(12, 12, 3)).astype(np.float32)
    image = tf_keras.Input((12, 12, 3))
    model = tf_keras.Model(image, trunk.features(a_graph(kernels), image))

    begun = np.maximum(convolved(photo.transpose(2, 0, 1), kernels["stem"], 2), 0)
    pooled = windows(begun, (0, 1), 3, 2).max(axis=(3, 4))
    expected = (convolved(pooled, kernels["deep"], 1) + pooled).mean(axis=(1, 2))

    np.testing.assert_allclose(model(photo[None] / 255).numpy()[0], expected, rtol=1e-4, atol=1e-4)
