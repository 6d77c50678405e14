"""Handwritten digits of scikit-learn, a small SavedModel that can learn them, and settings for steps."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from modelpress.api.recipe import Training
from modelpress.compress.dataset import Rows
from modelpress.compress.examples import Bound, Examples
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps.step import Setting
from modelpress.telemetry.progress import Silent

SIGNATURE = "serving_default"


class Digits(tf.Module):
    """A bare module: nothing of Keras is in the SavedModel."""

    def __init__(self, width=32):
        super().__init__()
        random = tf.random.Generator.from_seed(1)

        def weights(name, *shape):
            scale = 1.4 / np.sqrt(np.prod(shape[:-1]))
            return tf.Variable(random.normal(shape, stddev=scale), name=name)

        self.conv = weights("conv/kernel", 3, 3, 1, 8)
        self.mix = weights("mix/kernel", 3, 3, 8, 8)
        self.dense = weights("dense/kernel", 8 * 16, width)
        self.bias = tf.Variable(tf.zeros([width]), name="dense/bias")
        self.head = weights("head/kernel", width, 10)

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, "image")])
    def classify(self, image):
        hidden = tf.nn.relu(tf.nn.conv2d(image, self.conv, 2, "SAME"))
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, self.mix, 1, "SAME"))
        hidden = tf.nn.relu(tf.reshape(hidden, [-1, 8 * 16]) @ self.dense + self.bias)
        return {"logits": hidden @ self.head}


@pytest.fixture(scope="session")
def digits():
    """(training rows, evaluation rows)."""
    data = load_digits()
    image, label = (data.images[..., None] / 16).astype("f4"), data.target.astype("i4")
    order = np.random.default_rng(0).permutation(len(image))
    rows = Rows({"image": image[order]}, {"logits": label[order]}, "sha256:0")
    return rows.part(0, 1200), rows.part(1200)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """Path of a SavedModel that knows nothing yet."""
    path, model = tmp_path_factory.mktemp("untrained") / "1", Digits()
    tf.saved_model.save(model, str(path), signatures={SIGNATURE: model.classify})
    return path


@pytest.fixture
def setting(tmp_path, digits):
    """Makes the Setting of a step; keyword arguments replace its parts, `training` those of `spec.recipe.training`."""

    def make(*, training=None, rows=None, sets=None, **fields):
        bound = {"training": Bound(SIGNATURE, digits[0] if rows is None else rows)} if sets is None else sets
        usual = {
            "examples": Examples(bound),
            "training": Training.model_validate({"batchSize": 64, **(training or {})}),
            "field": "spec.recipe.steps[0].step",
            "checkpoints": tmp_path / "checkpoints",
            "logs": tmp_path / "logs",
            "replacement": tmp_path / "replacement",
            "progress": Silent(),
        }
        return Setting(**{**usual, **fields})

    return make


@pytest.fixture(scope="session")
def trained(untrained, digits, tmp_path_factory):
    """Weights of the model after a few epochs, by position."""
    from modelpress.api.recipe import FineTune
    from modelpress.compress.steps import fine_tune

    root, opened = tmp_path_factory.mktemp("trained"), OpenedModel(untrained, (SIGNATURE,))
    setting = Setting(
        examples=Examples({"training": Bound(SIGNATURE, digits[0])}),
        training=Training(),
        field="",
        checkpoints=root / "checkpoints",
        logs=root / "logs",
        replacement=root / "replacement",
        progress=Silent(),
    )
    fine_tune.apply(opened, FineTune(epochs=8, learning_rate=0.003), setting)
    return [variable.numpy() for variable in opened.variables()]


@pytest.fixture
def opened(untrained, trained):
    """The trained model, anew for each test."""
    found = OpenedModel(untrained, (SIGNATURE,))
    for variable, value in zip(found.variables(), trained, strict=True):
        variable.assign(value)
    return found


@pytest.fixture
def accuracy(digits):
    """Share of evaluation rows that a model gets right."""

    def measure(opened):
        rows = digits[1]
        found = opened.call(SIGNATURE, rows.inputs)["logits"].argmax(axis=-1)
        return float((found == rows.targets["logits"]).mean())

    return measure
