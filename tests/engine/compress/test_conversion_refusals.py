"""What TFLite cannot hold is named by its operations and by the places where the model has them."""

from __future__ import annotations

import pytest
import tensorflow as tf

from modelpress.compress import tflite
from modelpress.compress.model import OpenedModel


def test_every_operation_that_tflite_lacks_is_named_with_its_place(tmp_path):
    weights = tf.Variable(tf.ones((3, 2)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image")])
    def answer(image):
        with tf.name_scope("reading"):
            pixels = tf.map_fn(
                lambda one: tf.reduce_mean(tf.cast(tf.io.decode_jpeg(one, channels=3), tf.float32), [0, 1]),
                tf.strings.lower(image),
                fn_output_signature=tf.TensorSpec([3], tf.float32),
            )
        return {"scores": tf.linalg.matmul(pixels, weights)}

    module = tf.Module()
    module.weights = weights
    tf.saved_model.save(module, tmp_path, signatures=answer)
    with pytest.raises(tflite.NotConvertible) as refused:
        tflite.convert(OpenedModel(tmp_path, ("serving_default",)), "Float32")
    assert refused.value.reason == "UnsupportedOperation"
    for operation in ("DecodeJpeg (reading/", "StringLower (reading/"):
        assert operation in str(refused.value)
