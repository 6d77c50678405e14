"""A small trained model with its data, and requests that leave the recipe to the search."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from modelpress.api.data import Data
from modelpress.api.gate import Gate
from modelpress.api.recipe import Recipe
from modelpress.api.request import Request, Target
from modelpress.api.source import Source

CLASSES = 4


@pytest.fixture(scope="session")
def lights(tmp_path_factory):
    """Folder of a model that tells in which quarter of an image the light is, and of its data."""
    folder = tmp_path_factory.mktemp("lights")
    random = np.random.default_rng(3)
    label = random.integers(0, CLASSES, 900)
    image = random.normal(0, 0.4, (900, 16, 16, 1)).astype("f4")
    for row, where in enumerate(label):
        image[row, 8 * (where // 2) : 8 * (where // 2) + 8, 8 * (where % 2) : 8 * (where % 2) + 8] += 0.5
    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            tf_keras.Input((16, 16, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax", name="probs"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(image[:500], label[:500], epochs=2, verbose=0)
    tf.saved_model.save(model, str(folder / "model" / "1"))
    np.savez(folder / "evaluation.npz", image=image[500:], label=label[500:])
    np.savez(folder / "calibration.npz", image=image[:64])
    return folder


@pytest.fixture
def ask(lights, tmp_path):
    """Makes a Request; keyword arguments replace its parts."""

    def make(*, recipe=None, gate=None, store=None):
        sets = {role: {"uri": str(lights / f"{role}.npz")} for role in ("evaluation", "calibration")}
        limits = {"metrics": [{"type": "Accuracy", "maxDrop": 0.05}], "latency": {"maxRatio": 10}}
        return Request(
            name="lights",
            source=Source(uri=str(lights / "model")),
            data=Data.model_validate(sets),
            recipe=Recipe.model_validate(recipe or {}),
            gate=Gate.model_validate(limits | (gate or {})),
            target=Target(threads=1, concurrency=1),
            store=str(store or tmp_path / "store"),
        )

    return make
