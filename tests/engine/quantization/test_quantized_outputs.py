"""Outputs that the model itself goes on with keep their names and values, whichever of its layers is quantized."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from modelpress.compress import tflite
from modelpress.compress.quantization import layers, ranges, rewriting
from modelpress.compress.quantization.comparison import Comparison
from modelpress.compress.quantization.precision import Assignment

SERVED = "serving_default"


class _Stages(tf.Module):
    """Two stages, both given out, with a square root between them, which TensorFlow has no int8 kernel for."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(1)
        self.first = tf.Variable(random.normal(size=(8, 16)).astype("f4"), name="first/kernel")
        self.second = tf.Variable(random.normal(size=(16, 4)).astype("f4"), name="second/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, "x")])
    def both(self, x):
        early = tf.sqrt(tf.nn.relu(x @ self.first))
        return {"early": early, "late": early @ self.second}


@pytest.fixture(scope="module")
def stages(converted):
    module = _Stages()
    return converted(module, module.both)


@pytest.mark.parametrize("quantized", [("first",), ("second",), ("first", "second")])
@pytest.mark.parametrize("precision", ["StaticInt8", "DynamicInt8"])
def test_outputs_inside_the_model_survive(stages, quantized, precision):
    batches = [{"x": row[None]} for row in np.random.default_rng(2).normal(size=(32, 8)).astype("f4")]
    statistics = ranges.measured(stages.content, SERVED, batches).of("MinMax")
    chosen = [one for one in layers.layers(stages.operations()) if one.name in quantized]
    assert [one.name for one in chosen] == list(quantized)
    scopes = [scope for one in chosen for scope in one.scopes]
    content = rewriting.quantize(stages.content, Assignment("Float32", dict.fromkeys(scopes, precision)), statistics)
    found = tflite.Interpreter(content).call(SERVED, batches[0])
    assert {name: (value.shape, value.dtype) for name, value in found.items()} == {
        "early": ((1, 16), np.float32),
        "late": ((1, 4), np.float32),
    }
    assert Comparison(stages.content, SERVED, batches).of(content).variance < 0.02
