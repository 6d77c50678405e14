"""What a search looks for before it makes a net smaller: blocks that repeat, normalisation, the length of an epoch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from modelpress.api.recipe import Recipe
from modelpress.compress.model import OpenedModel
from modelpress.compress.search import anatomy
from modelpress.compress.search.anatomy import Net
from modelpress.compress.steps.known import Known
from modelpress.compress.versions import Version
from modelpress.telemetry.progress import Silent

SIGNATURE = "serving_default"


class _Blocks(tf.Module):
    """Dense layers with residuals after another, whose input may be normalised."""

    def __init__(self, count, *, normalised):
        super().__init__()
        random = np.random.default_rng(0)
        self.stem = tf.Variable(random.normal(size=(8, 8)).astype("f4"), name="stem/kernel")
        self.kernels = [
            tf.Variable(random.normal(size=(8, 8)).astype("f4"), name=f"block_{place}/kernel") for place in range(count)
        ]
        self.moments = [tf.Variable(tf.ones([8]), name=f"norm/{place}") for place in range(4)] if normalised else []

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, "x")])
    def run(self, x):
        if self.moments:
            image = x[:, tf.newaxis, tf.newaxis, :]
            x = tf.compat.v1.nn.fused_batch_norm(image, *self.moments, is_training=False)[0][:, 0, 0, :]
        x = x @ self.stem
        for kernel in self.kernels:
            x = x + tf.nn.relu(x @ kernel)
        return {"y": x}


def a_bench(model):
    """The model beside 130 rows to train on, 32 at a time."""
    source = Version(OpenedModel(model, (SIGNATURE,)))
    return SimpleNamespace(
        opened=source.opened,
        versions=SimpleNamespace(after=lambda changes: source, known=lambda version: Known(version.opened)),
        progress=Silent(),
        request=SimpleNamespace(recipe=Recipe()),
        examples=SimpleNamespace(sets={"training": SimpleNamespace(rows=range(130))}),
    )


@pytest.mark.parametrize(("count", "normalised"), [(6, False), (2, True), (1, False)])
def test_blocks_are_counted_and_batch_normalisation_is_seen(tmp_path, count, normalised):
    module = _Blocks(count, normalised=normalised)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={SIGNATURE: module.run})
    assert anatomy.of(a_bench(tmp_path / "1")) == Net(normalised, count if count > 1 else 0, 4)


def test_what_cannot_be_one_graph_has_neither(tmp_path):
    module = tf.Module()
    initial = tf.lookup.KeyValueTensorInitializer(tf.constant(["a"]), tf.constant([1.0]))
    module.table = tf.lookup.StaticHashTable(initial, 0.0)
    run = tf.function(lambda x: {"y": module.table.lookup(x)}, [tf.TensorSpec([None], tf.string, "x")])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={SIGNATURE: run})
    assert anatomy.of(a_bench(tmp_path / "1")) == Net(updates=4)
