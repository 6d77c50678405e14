"""benchmarks/nets/naive.py: what a search is compared with is what people do."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import tf_keras
from nets import naive


def test_half_of_the_weights_are_zero_where_tfmot_knows_the_layer_and_the_others_stay() -> None:
    layers = tf_keras.layers
    image = tf_keras.Input((8, 8, 3))
    hidden = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))
    before = tf_keras.Model(image, layers.Dense(5)(layers.Flatten()(layers.BatchNormalization()(hidden))))
    weights = [array.copy() for array in before.get_weights()]
    after = naive.pruned(before).get_weights()
    assert [np.mean(array == 0) for array in after if array.ndim > 1] == [0.5, 0.5]
    for was, found in zip(weights, after, strict=True):
        np.testing.assert_array_equal(found[found != 0], was[found != 0])
