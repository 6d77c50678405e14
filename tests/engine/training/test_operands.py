"""Which variables `prune` and `cluster` change: those that a request is multiplied by or looked up in."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Cluster, Prune
from modelpress.compress import graph
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps import cluster, prune

WIDTH = 8


def changed(opened):
    """Names of the arrays that are kernels or tables."""
    places = graph.kernels(opened)
    found = {one.name.split(":")[0] for place, one in enumerate(opened.variables()) if place in places}
    return {name for name in found if not name.endswith("bias")}


@pytest.fixture(params=[keras, tf_keras], ids=["Keras 3", "Keras 2"])
def kind(request):
    return request.param


@pytest.fixture
def saved(kind, tmp_path):
    """Opens what a Keras model of these layers becomes."""

    def make(shape, *layers, dtype="float32"):
        model = kind.Sequential([kind.layers.Input(shape, dtype=dtype), *layers])
        serve = tf.function(
            lambda x: {"y": model(x, training=False)},
            input_signature=[tf.TensorSpec([None, *shape], dtype, "x")],
        )
        model.served = serve
        tf.saved_model.save(model, str(tmp_path / "1"), signatures={"serving_default": serve})
        return OpenedModel(tmp_path / "1", ("serving_default",))

    return make


@pytest.fixture
def rectified(kind, saved):
    """A net whose PReLU has slopes of [1, 1, channels]."""
    layers = kind.layers
    return saved(
        (6, 6, 4),
        layers.Conv2D(WIDTH, 3, name="conv"),
        layers.PReLU(shared_axes=[1, 2], alpha_initializer="ones", name="slope"),
        layers.Conv2D(WIDTH, 3, name="last"),
    )


def slopes(opened):
    return next(one.numpy() for one in opened.variables() if "slope/alpha" in one.name)


def test_two_of_four_leaves_slopes_alone(rectified, setting):
    prune.apply(rectified, Prune(structure="TwoOfFour"), setting())
    assert slopes(rectified).shape == (1, 1, WIDTH)
    assert slopes(rectified).all()


def test_a_share_is_taken_from_kernels_only(rectified, setting):
    note = prune.apply(rectified, Prune(sparsity=0.5), setting()).note
    assert f"of {9 * 4 * WIDTH + 9 * WIDTH * WIDTH:,} weights" in note
    assert slopes(rectified).all()


def test_clusters_are_of_kernels_only(rectified, setting):
    assert "of 2 tensors" in cluster.apply(rectified, Cluster(clusters=4), setting()).note


def test_slopes_are_not_told_among_layers_but_may_be_excluded(rectified, setting):
    with pytest.raises(Invalid) as refused:
        prune.apply(rectified, Prune(sparsity=0.5, exclude_layers=("nowhere",)), setting())
    assert "conv/kernel" in refused.value.message
    assert "slope" not in refused.value.message
    prune.apply(rectified, Prune(sparsity=0.5, exclude_layers=("slope/",)), setting())


def test_kernels_inside_loops_and_tables_are_found(kind, saved):
    layers = kind.layers
    opened = saved(
        (5,),
        layers.Embedding(20, 4, name="table"),
        layers.GRU(4, return_sequences=True, name="gru"),
        layers.LSTM(4, name="lstm"),
        layers.Dense(3, name="dense"),
        dtype="int32",
    )
    found = changed(opened)
    assert all(any(f"{layer}/" in name for name in found) for layer in ("table", "gru", "lstm", "dense"))
    assert sum("recurrent_kernel" in name for name in found) == 2
    assert len(found) == 6


class Bare(tf.Module):
    """Ways in which a variable of two axes or more may be computed with."""

    def __init__(self):
        super().__init__()
        shapes = {
            "kernel": [4, 4],
            "scaled/kernel": [4, 4],
            "scaled/factor": [1, 4],
            "query": [4, 2, 2],
            "table": [9, 4],
            "slope": [1, 4],
            "offset": [1, 4],
            "token": [1, 4],
            "branch": [4, 4],
            "state": [1, 4],
            "recurrent": [4, 4],
            "position": [1, 4],
            "projection": [4, 4],
            "weighed": [1, 4],
        }
        self.all = {name.replace("/", "_"): tf.Variable(tf.ones(shape), name=name) for name, shape in shapes.items()}

    @tf.function(
        input_signature=[tf.TensorSpec([None, 4], tf.float32, "x"), tf.TensorSpec([None], tf.int32, "row")],
    )
    def serve(self, x, row):
        one = self.all
        x = tf.nn.relu(x @ one["kernel"] + one["offset"])
        x = x @ tf.transpose(one["scaled_kernel"] / tf.norm(one["scaled_kernel"]) * one["scaled_factor"])
        x = tf.reshape(tf.einsum("bi,ihd->bhd", x, one["query"]), [-1, 4]) + tf.gather(one["table"], row)
        x = tf.nn.relu(x) - one["slope"] * tf.nn.relu(-x)
        x = self.turned(x) + one["position"] @ one["projection"]
        x = x * tf.reduce_sum(x * one["weighed"], axis=1, keepdims=True)
        x = tf.concat([tf.tile(one["token"], [tf.shape(x)[0], 1]), x], axis=1)[:, :4]
        return {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: x @ one["branch"], lambda: x)}

    def turned(self, x):
        """A loop whose state begins as a weight."""
        state = tf.tile(self.all["state"], [tf.shape(x)[0], 1])
        turn = lambda place, state: (place + 1, tf.tanh(x + state @ self.all["recurrent"]))  # noqa: E731
        return tf.while_loop(lambda place, _: place < 2, turn, (0, state))[1]


def test_what_is_only_added_or_multiplied_place_by_place_is_no_kernel(tmp_path):
    module = Bare()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.serve})
    opened = OpenedModel(tmp_path / "1", ("serving_default",))
    names = {"kernel", "scaled/kernel", "query", "table", "branch", "recurrent", "projection", "weighed"}
    assert names <= changed(opened)
    assert changed(opened) - names <= {"scaled/factor", "state", "position"}
    answer = opened.call("serving_default", {"x": np.ones((2, 4), "f4"), "row": np.zeros(2, "i4")})
    assert answer["y"].shape == (2, 4)
