"""Small models of many kinds, made once per session, and requests for the engine."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelpress.api.gate import Gate
from modelpress.api.recipe import Recipe
from modelpress.api.request import Request
from modelpress.api.source import Source
from modelpress.compress import engine
from modelpress.telemetry.progress import Silent

NOW = 1_790_000_000
CLASSES = 4
HALF = {"steps": [{"quantize": {"scheme": "Float16"}}]}
"""Works for any float model, in both forms."""


def _image_model(path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(16, 3, name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(64, activation="relu", name="dense"),
            keras.layers.Dense(CLASSES, activation="softmax", name="probs"),
        ]
    )
    model.save(path)


class _TwoOutputs(tf.Module):
    """Two signatures over one input, one of them with two outputs, on a shared trunk."""

    def __init__(self):
        super().__init__()
        random = tf.random.Generator.from_seed(1)
        self.trunk = tf.Variable(random.normal([16, 64]), name="trunk/kernel")
        self.head = tf.Variable(random.normal([64, 3]), name="head/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.float32, "x")])
    def both(self, x):
        hidden = tf.nn.relu(x @ self.trunk)
        return {"hidden": hidden, "logits": hidden @ self.head}

    @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.float32, "x")])
    def classes(self, x):
        return {"best": tf.argmax(tf.nn.relu(x @ self.trunk) @ self.head, axis=-1)}

    @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, "hidden")])
    def from_hidden(self, hidden):
        return {"logits": hidden @ self.head}


class _Tokens(tf.Module):
    """Any batch, any length; the loop keeps a function inside the graph."""

    def __init__(self):
        super().__init__()
        random = tf.random.Generator.from_seed(2)
        self.table = tf.Variable(random.normal([100, 32]), name="table")
        self.head = tf.Variable(random.normal([32, 2]), name="head/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, "ids")])
    def score(self, ids):
        mask = tf.cast(tf.expand_dims(ids > 0, -1), tf.float32)
        total = tf.reduce_sum(tf.gather(self.table, ids) * mask, axis=1)
        for _ in tf.range(2):
            total = tf.tanh(total)
        return {"logits": total @ self.head}


class _Awkward(tf.Module):
    """What cannot be compressed in one way or another."""

    def __init__(self):
        super().__init__()
        self.tiny = tf.Variable(np.where(np.arange(512) % 2, 1.0, 1e-9).astype("f4"), name="tiny")
        self.count = tf.Variable(0.0, name="count")
        keys, values = tf.constant(["a", "b"]), tf.constant([0.5, 1.5])
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 512], tf.float32, "x")])
    def divides(self, x):
        return {"y": x / self.tiny * 1e-3}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def throws_dice(self, x):
        return {"y": x + tf.random.uniform(tf.shape(x))}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def counts(self, x):
        return {"y": x + self.count.assign_add(1.0)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])
    def looks_up(self, word):
        return {"y": self.table.lookup(word)}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Name -> path of a model."""
    root = tmp_path_factory.mktemp("models")
    _image_model(root / "image.keras")
    two, tokens, awkward = _TwoOutputs(), _Tokens(), _Awkward()
    saved = {
        "two_outputs": (two, {"serving_default": two.both, "classes": two.classes}),
        "two_inputs": (two, {"serving_default": two.both, "from_hidden": two.from_hidden}),
        "tokens": (tokens, {"serving_default": tokens.score}),
        "divides": (awkward, {"serving_default": awkward.divides}),
        "throws_dice": (awkward, {"serving_default": awkward.throws_dice}),
        "counts": (awkward, {"serving_default": awkward.counts}),
        "looks_up": (awkward, {"serving_default": awkward.looks_up}),
    }
    for name, (module, signatures) in saved.items():
        tf.saved_model.save(module, str(root / name / "7"), signatures=signatures)
    return {"image": root / "image.keras"} | {name: root / name for name in saved}


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Labelled images that a small model can learn: the class says where the light is."""
    random = np.random.default_rng(3)
    labels = random.integers(0, CLASSES, 400)
    image = random.normal(0, 0.3, (400, 8, 8, 1)).astype("f4")
    for row, label in enumerate(labels):
        image[row, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 1
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, image=image, label=labels)
    return path


@pytest.fixture
def ask(tmp_path):
    """Makes a Request; keyword arguments replace its parts."""

    def make(uri, *, data=None, store=None, recipe=None, source=None, gate=None, **fields):
        return Request(
            name="model",
            source=Source(uri=str(uri), **(source or {})),
            data=data,
            recipe=Recipe.model_validate(HALF if recipe is None else recipe),
            gate=Gate.model_validate(gate or {}),
            store=str(store or tmp_path / "store"),
            **fields,
        )

    return make


@pytest.fixture
def compress(ask):
    """Runs the engine on a request made as by `ask`."""

    def run(uri, **options):
        return engine.compress(ask(uri, **options), progress=Silent(), now=NOW)

    return run
