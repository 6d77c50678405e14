"""Models that quantize well, and one whose head was given a scaler's factors, converted once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelpress.compress import graph, model, tflite
from modelpress.compress.model import OpenedModel
from modelpress.compress.quantization import layers
from modelpress.compress.quantization.scheme import Float

CLASSES = 4


def _network():
    """A small net whose batch normalisation has seen data, with a residual addition."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    stem = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(image)
    body = keras.layers.Conv2D(16, 3, padding="same", name="body")(stem)
    body = keras.layers.BatchNormalization(name="norm")(body)
    joined = keras.layers.ReLU()(keras.layers.Add()([stem, body]))
    hidden = keras.layers.Dense(32, activation="relu", name="hidden")(keras.layers.Flatten()(joined))
    return keras.Model(image, keras.layers.Dense(CLASSES, activation="softmax", name="classes")(hidden))


class _Scaled(tf.Module):
    """Eight of sixteen inputs are tiny: the scaler that made up for it was folded into the first layer's weights."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        first = random.normal(size=(16, 64))
        first[:8] *= 3000.0
        self.first = tf.Variable(first.astype("f4"), name="scaled/kernel")
        self.second = tf.Variable(random.normal(size=(64, 64)).astype("f4") / 8, name="middle/kernel")
        self.third = tf.Variable(random.normal(size=(64, CLASSES)).astype("f4") / 8, name="head/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.float32, "x")])
    def classify(self, x):
        hidden = tf.nn.relu(x @ self.first)
        return {"probs": tf.nn.softmax(tf.nn.relu(hidden @ self.second) @ self.third)}


def opened(directory):
    return OpenedModel(directory, tuple(model.signatures(directory)))


def floating(source):
    """An opened model as a float32 flatbuffer with the names of its variables."""
    names = layers.variable_layers(graph.freeze(source).graph, [one.name for one in source.variables()])
    return Float(tflite.convert(source, "Float32"), names)


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """From a module and the function that it serves to what `floating` gives."""

    def convert(module, function):
        path = tmp_path_factory.mktemp("module")
        tf.saved_model.save(module, str(path), signatures={"serving_default": function})
        return floating(opened(path))

    return convert


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """The convolutional net, opened."""
    path = tmp_path_factory.mktemp("network")
    _network().export(path, verbose=False)
    return opened(path)


@pytest.fixture(scope="session")
def network_float(network):
    return floating(network)


@pytest.fixture(scope="session")
def scaled(tmp_path_factory):
    """The classifier with extreme weights, opened."""
    path = tmp_path_factory.mktemp("scaled")
    module = _Scaled()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.classify})
    return opened(path)


@pytest.fixture(scope="session")
def images():
    """Batches of one image."""
    random = np.random.default_rng(3)
    return [{"image": random.normal(size=(1, 8, 8, 1)).astype("f4")} for _ in range(64)]


@pytest.fixture(scope="session")
def scaled_rows():
    """Batches of one row whose first half is as small as the weights for it are large."""
    random = np.random.default_rng(4)
    rows = random.normal(size=(64, 16)).astype("f4")
    rows[:, :8] /= 3000.0
    return [{"x": row[None]} for row in rows]


@pytest.fixture(scope="session")
def scaled_float(scaled):
    return floating(scaled)


@pytest.fixture(scope="session")
def depthwise_float(tmp_path_factory):
    """A depthwise convolution of 2304 weights between two of 1x1, as MobileNets have them."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 16), name="image")
    wide = keras.layers.Conv2D(256, 1, activation="relu", name="widen")(image)
    wide = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(wide)
    path = tmp_path_factory.mktemp("depthwise")
    keras.Model(image, keras.layers.Conv2D(16, 1, name="narrow")(wide)).export(path, verbose=False)
    return floating(opened(path))


@pytest.fixture(scope="session")
def wide_images():
    """Batches of one image of sixteen channels."""
    random = np.random.default_rng(5)
    return [{"image": random.normal(size=(1, 4, 4, 16)).astype("f4")} for _ in range(16)]
