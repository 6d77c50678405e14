"""A frozen graph does not say what its outputs are; what people would want of it is found."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def test_the_scores_behind_class_numbers_are_an_output_too(opened, tmp_path):
    kernel = np.random.default_rng(0).normal(size=(8, 3)).astype("f4")
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8], name="x")
        scores = tf.nn.softmax(x @ tf.constant(kernel, name="kernel"), name="prob")
        tf.argmax(scores, axis=1, name="best")
        tf.argmax(scores, axis=1, name="again")
    (tmp_path / "classifier.pb").write_bytes(graph.as_graph_def().SerializeToString())
    found = opened(tmp_path / "classifier.pb")
    assert set(found.signatures["serving_default"].outputs) == {"prob", "best", "again"}
    rows = np.random.default_rng(1).normal(size=(5, 8)).astype("f4")
    answers = found.call("serving_default", {"x": rows})
    np.testing.assert_allclose(answers["prob"], tf.nn.softmax(rows @ kernel), rtol=1e-5)
    assert answers["best"].tolist() == answers["prob"].argmax(1).tolist()
