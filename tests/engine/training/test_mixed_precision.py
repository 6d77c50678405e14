"""Training in mixed precision: in effect, as good, and gone from what is exported."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from modelpress.api.recipe import FineTune
from modelpress.compress import model
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps import fine_tune
from modelpress.compress.training import loop, precision
from modelpress.compress.training.course import NOT_MIXED, Course

SIGNATURE = "serving_default"
STEP = FineTune(epochs=4, learning_rate=0.003)


def trained(path, given):
    opened = OpenedModel(path, (SIGNATURE,))
    course = Course(STEP.epochs, STEP.learning_rate, given.training, "Fine-tuning", "")
    return opened, loop.train(fine_tune.task(opened, given), course, given.place)


def test_it_rounds_products_learns_as_well_and_leaves_float32(untrained, setting, accuracy, tmp_path):
    found = {}
    for name, wanted in (("plain", None), ("mixed", True), ("again", True)):
        given = setting(checkpoints=tmp_path / name, training={"mixedPrecision": wanted})
        found[name] = trained(untrained, given)
    (plain, exact), (mixed, rounded), (again, _) = found["plain"], found["mixed"], found["again"]
    assert "precision" not in exact.note
    differences = np.abs(np.subtract(exact.losses, rounded.losses))
    if rounded.mixed:
        assert "in mixed precision" in rounded.note
        assert (differences > 1e-6).all()
    else:  # a processor without AVX-512
        assert NOT_MIXED in rounded.note
        assert not differences.any()
    assert (differences < 0.02 * exact.losses[0]).all()
    assert accuracy(mixed) > accuracy(plain) - 0.02
    for one, other in zip(mixed.variables(), again.variables(), strict=True):
        assert one.dtype == tf.float32
        assert one.numpy().tobytes() == other.numpy().tobytes()
    tf.saved_model.save(mixed.loaded, str(tmp_path / "m"), signatures={SIGNATURE: mixed.function(SIGNATURE)})
    assert "DT_BFLOAT16" not in str(model.meta_graph(tmp_path / "m").graph_def)


def test_it_ends_with_the_training(untrained, setting):
    rows = {"image": np.random.default_rng(0).random((4, 8, 8, 1), dtype=np.float32)}
    before = OpenedModel(untrained, (SIGNATURE,)).call(SIGNATURE, rows)["logits"]
    trained(untrained, setting(training={"mixedPrecision": True}))
    np.testing.assert_array_equal(OpenedModel(untrained, (SIGNATURE,)).call(SIGNATURE, rows)["logits"], before)


def test_a_processor_that_cannot_is_told_of(untrained, setting, monkeypatch):
    monkeypatch.setattr(precision, "_is_in_effect", lambda: False)
    _, history = trained(untrained, setting(training={"mixedPrecision": True}))
    assert NOT_MIXED in history.note
