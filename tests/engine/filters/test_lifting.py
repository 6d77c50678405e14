"""A frozen graph becomes a SavedModel whose weights can be trained, and nothing else of it changes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from modelpress.compress import graph, lifting, model, signature_file
from modelpress.compress.model import OpenedModel


class _Scores(tf.Module):
    """Strings beside numbers, two signatures, a weight that is not trained."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable([[1.0, -1.0], [0.5, 2.0]], name="layer/kernel")
        self.offset = tf.Variable([0.1, 0.2], name="layer/offset", trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word"), tf.TensorSpec([None], tf.float32, "x")])
    def serve(self, word, x):
        length = tf.cast(tf.strings.length(word), tf.float32)
        return {"y": tf.stack([length, x], axis=1) @ self.kernel + self.offset, "word": tf.strings.upper(word)}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "pairs")])
    def of_pairs(self, pairs):
        return {"y": pairs @ self.kernel}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The model, opened, one of its signatures with a method of its own."""
    directory, module = tmp_path_factory.mktemp("scores"), _Scores()
    with model.quiet():
        tf.saved_model.save(module, str(directory), signatures={"words": module.serve, "pairs": module.of_pairs})
    path = directory / "saved_model.pb"
    path.write_bytes(path.read_bytes().replace(b"tensorflow/serving/predict", b"tensorflow/serving/regress"))
    return OpenedModel(directory, ("pairs", "words"))


@pytest.fixture
def lifted(source, tmp_path):
    """Directory of the lifted model."""
    frozen = graph.freeze(source, merge_weights=False)
    lifting.write(frozen, {"layer/kernel": True, "layer/offset": False}, tmp_path / "lifted")
    return tmp_path / "lifted"


def test_variables_have_their_names_and_know_whether_they_are_trained(lifted):
    variables = OpenedModel(lifted, ("pairs", "words")).variables()
    assert [(one.name, one.trainable) for one in variables] == [("layer/kernel:0", True), ("layer/offset:0", False)]


def test_signatures_strings_and_answers_stay(source, lifted):
    opened = OpenedModel(lifted, ("pairs", "words"))
    assert opened.signatures == source.signatures
    assert {one.method for one in signature_file.read(lifted).values()} == {"tensorflow/serving/regress"}
    fed = {"word": np.array(["a", "press"], object), "x": np.array([0.5, 2], "f4")}
    before, after = (one.call("words", fed) for one in (source, opened))
    np.testing.assert_array_equal(before["y"], after["y"])
    assert after["word"].tolist() == [b"A", b"PRESS"]


def test_gradients_reach_the_variables_and_what_is_assigned_counts(lifted):
    opened = OpenedModel(lifted, ("pairs", "words"))
    kernel, _ = opened.variables()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(opened.function("pairs")(pairs=tf.constant([[1.0, 2.0]]))["y"])
    np.testing.assert_array_equal(tape.gradient(total, kernel), [[1, 1], [2, 2]])
    kernel.assign(tf.zeros_like(kernel))
    assert not opened.call("pairs", {"pairs": np.ones((3, 2), "f4")})["y"].any()


def test_equal_graphs_give_equal_bytes(source, lifted, tmp_path):
    again = tmp_path / "again"
    lifting.write(graph.freeze(source, merge_weights=False), {"layer/kernel": True, "layer/offset": False}, again)
    files = sorted(path.relative_to(lifted) for path in lifted.rglob("*") if path.is_file())
    assert all((lifted / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_weights_of_a_graph_without_variables_are_known_by_their_use(source):
    assert lifting.weights(graph.freeze(source).graph) == {"layer/kernel": True, "layer/offset": True}
