"""Models of several inputs are tried as the server resizes them: one input after the other."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from modelpress.compress import check, tflite
from modelpress.compress.model import OpenedModel

SERVED = "serving_default"


class _Pair(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name) for name in "ab"])
    def added(self, a, b):
        return {"y": a + b}

    @tf.function(input_signature=[tf.TensorSpec([2, 4], tf.float32, name) for name in "ab"])
    def added_in_twos(self, a, b):
        return {"y": a + b}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name) for name in "ab"])
    def apart(self, a, b):
        return {"y": tf.nn.relu(a), "z": tf.tanh(b)}


@pytest.fixture
def finding(tmp_path):
    """What the check says about one signature of the pair as a TFLite model."""

    def run(name, rows):
        module = _Pair()
        tf.saved_model.save(module, str(tmp_path / name), signatures={SERVED: getattr(module, name)})
        opened = OpenedModel(tmp_path / name, (SERVED,))
        (tmp_path / f"{name}-lite").mkdir()
        tflite.write(tflite.convert(opened, "Float32"), tmp_path / f"{name}-lite")
        inputs = {key: np.ones((rows, 4), np.float32) for key in "ab"}
        reference = check.Reference({SERVED: inputs}, {SERVED: opened.call(SERVED, inputs)}, repeatable=True)
        found, _ = check.refusal(tmp_path / f"{name}-lite", "TFLite", reference, (SERVED,))
        return found

    return run


def test_inputs_that_meet_at_once_are_refused_because_the_server_would_fail(finding):
    found = finding("added", 8)
    assert found.reason == "SizesConflict"
    assert "resizes a, b one by one" in found.message
    assert "Failed to allocate tensors" in found.message


def test_inputs_of_one_size_or_that_never_meet_are_fine(finding):
    assert finding("added_in_twos", 2) is None
    assert finding("apart", 8) is None
