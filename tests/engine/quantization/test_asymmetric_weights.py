"""Asymmetric weights: kernels that lie to one side lose less, and what a model answers to is as it was."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from modelpress.api.recipe import Quantize
from modelpress.compress import flatbuffer, tflite
from modelpress.compress.quantization import centring, scheme
from modelpress.compress.quantization.comparison import Comparison, Loss
from modelpress.compress.quantization.scheme import Float

SERVED = "serving_default"
FIELD = "spec.recipe.steps[0].quantize"


class _Leaning(tf.Module):
    """All weights are between 0 and 1."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        shapes = {"first": (3, 3, 8, 16), "second": (3, 3, 16, 16), "third": (256, 64), "table": (32, 64)}
        for name, shape in shapes.items():
            values = random.uniform(0, 1, shape) / np.prod(shape[:-1]) ** 0.5
            setattr(self, name, tf.Variable(values.astype("f4"), name=f"{name}/kernel"))

    @tf.function(
        input_signature=[tf.TensorSpec([None, 8, 8, 8], tf.float32, "image"), tf.TensorSpec([None], tf.int32, "id")]
    )
    def answer(self, image, id):
        hidden = tf.nn.relu(tf.nn.conv2d(image, self.first, 1, "SAME"))
        hidden = tf.nn.relu6(tf.nn.conv2d(hidden, self.second, 2, "SAME"))
        dense = tf.nn.relu(tf.reshape(hidden, [-1, 256]) @ self.third)
        return {"answer": dense + tf.gather(self.table, id)}


@pytest.fixture(scope="module")
def leaning(converted):
    module = _Leaning()
    return converted(module, module.answer)


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(1)
    return [
        {"image": random.normal(size=(1, 8, 8, 8)).astype("f4"), "id": np.array([place % 32], "i4")}
        for place in range(64)
    ]


@pytest.fixture(scope="module")
def quantized(leaning, rows):
    calibration = scheme.Calibration(SERVED, rows, Loss(0.01, 0.02))

    def run(**fields):
        return scheme.quantized(leaning, Quantize.model_validate(fields), calibration, field=FIELD)

    return run


def test_the_middle_of_the_weights_is_taken_apart_without_changing_an_answer(leaning, rows):
    found = centring.centred(leaning.content, leaning.variables, (), bits=8, per_channel=True)
    assert found.note == "zero points in 4 of 4 layers"
    assert Comparison(leaning.content, SERVED, rows[:8]).of(found.content).variance < 1e-9


@pytest.mark.parametrize("name", ["DynamicInt8", "StaticInt8", "Int4Weights", "Mixed"])
@pytest.mark.parametrize("granularity", ["PerChannel", "PerTensor"])
def test_weights_to_one_side_lose_less_with_a_zero_point(quantized, leaning, rows, name, granularity):
    compared = Comparison(leaning.content, SERVED, rows)
    contents = [
        quantized(scheme=name, granularity=granularity, weights=weights).content
        for weights in ("Symmetric", "Asymmetric")
    ]
    symmetric, asymmetric = (compared.of(content).variance for content in contents)
    assert asymmetric < 0.5 * symmetric
    assert len(contents[1]) < len(contents[0]) + 0.15 * len(leaning.content)
    assert flatbuffer.read_signatures(contents[1]) == flatbuffer.read_signatures(leaning.content)
    many = {key: np.concatenate([one[key] for one in rows[:5]]) for key in rows[0]}
    found = tflite.Interpreter(contents[1]).call(SERVED, many)["answer"]
    alone = tflite.Interpreter(contents[1]).call(SERVED, rows[3])["answer"]
    np.testing.assert_allclose(found[3:4], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["DynamicInt8", "Int4Weights"])
def test_equal_inputs_give_equal_bytes(quantized, name):
    assert quantized(scheme=name, weights="Asymmetric") == quantized(scheme=name, weights="Asymmetric")


def test_excluded_layers_stay_as_they_are_and_others_keep_their_names(quantized, leaning):
    notes = quantized(scheme="Int4Weights", weights="Asymmetric", excludeLayers=["^first$", "^third$"]).notes
    assert notes == ("zero points in 2 of 2 layers",)
    found = centring.centred(leaning.content, leaning.variables, (), bits=8, per_channel=True)
    named = {one.name for one in Float(found.content, found.variables).operations()}
    assert {"first", "second", "third"} <= named


def test_weights_around_zero_stay_without_zero_points(network_float):
    symmetric, asymmetric = (
        scheme.quantized(network_float, Quantize(scheme="DynamicInt8", weights=weights), None, field=FIELD)
        for weights in ("Symmetric", "Asymmetric")
    )
    assert asymmetric.content == symmetric.content
    assert asymmetric.notes == ("no layer's weights lie to one side: zero stays in the middle of all",)
