"""Models of Keras 3 under tf.saved_model.save are saved anew, where that is proved to change nothing."""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from modelpress.api.data import Data, DataSet
from modelpress.api.errors import Invalid
from modelpress.api.gate import Gate
from modelpress.api.recipe import Recipe
from modelpress.api.request import Request
from modelpress.api.source import Source
from modelpress.compress import engine, model
from modelpress.compress.sources import resaving
from modelpress.server.savedmodel import SavedModel
from modelpress.storage import listing
from modelpress.telemetry.progress import Silent

SERVED = "serving_default"


def lost(network, path):
    """Saves the network as many tutorials do: its variables are then restored by Python's loader only."""
    (taken,) = network.inputs
    module = tf.Module()
    module.network = network
    specification = tf.TensorSpec(taken.shape, taken.dtype, taken.name)
    function = tf.function(lambda x: {"y": network(x, training=False)}, input_signature=[specification])
    tf.saved_model.save(module, str(path), signatures={SERVED: function.get_concrete_function()})
    return path


def convolutional(seed):
    keras.utils.set_random_seed(seed)
    parts = (keras.layers.Conv2D(8, 3), keras.layers.BatchNormalization(), keras.layers.Flatten())
    return keras.Sequential([keras.Input((8, 8, 1), name="x"), *parts, keras.layers.Dense(3)])


def recurrent():
    ids = keras.Input((None,), dtype="int64", name="x")
    return keras.Model(ids, keras.layers.Dense(1)(keras.layers.LSTM(8)(keras.layers.Embedding(50, 8)(ids))))


def of_words():
    word = keras.Input((), dtype="string", name="x")
    found = keras.layers.StringLookup(vocabulary=["a", "b"])(word)
    return keras.Model(word, keras.layers.Dense(1)(keras.layers.Embedding(5, 8)(found)))


def served(path, rows):
    """What a session, as in TensorFlow Serving, answers."""
    servable = SavedModel(path, tags=["serve"], config=config_pb2.ConfigProto())
    try:
        definition = model.meta_graph(path).signature_def[SERVED]
        (answer,) = servable.run((definition.inputs["x"].name,), [rows], (definition.outputs["y"].name,))
        return answer
    finally:
        servable.close()


def compressed(folder):
    request = Request(
        name="m",
        source=Source(uri=str(folder / "m")),
        data=Data(evaluation=DataSet(uri=str(folder / "words.npz"))) if (folder / "words.npz").exists() else None,
        recipe=Recipe.model_validate({"steps": [{"quantize": {"scheme": "Float16"}}]}),
        gate=Gate(),
        store=str(folder / "store"),
    )
    return engine.compress(request, progress=Silent(), now=1)


def content(directory):
    return {file.path: file.sha256 for file in listing.files(directory)}


def test_a_model_that_servers_would_not_restore_is_compressed_and_its_source_served_as_it_was_meant(tmp_path):
    network = convolutional(0)
    lost(network, tmp_path / "m")
    done = compressed(tmp_path)
    rows = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("f4")
    found = served(done.directory / done.manifest.source.servable.path, rows)
    np.testing.assert_allclose(found, network(rows), rtol=1e-4, atol=1e-6)
    assert {one.servable.form for one in done.manifest.candidates} == {"TFLite", "SavedModel"}


def test_saving_anew_gives_equal_bytes_and_keeps_warm_up_requests(tmp_path):
    lost(recurrent(), tmp_path / "m")
    (tmp_path / "m" / "assets.extra").mkdir()
    (tmp_path / "m" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"kept")
    for name in ("a", "b"):
        shutil.copytree(tmp_path / "m", tmp_path / name)
        assert resaving.resaved(tmp_path / name)
        assert not resaving.resaved(tmp_path / name)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert "assets.extra/tf_serving_warmup_requests" in content(tmp_path / "a")


def test_what_is_not_proved_to_be_the_same_is_left_as_it_was(tmp_path, monkeypatch):
    lost(convolutional(0), tmp_path / "m")
    convolutional(1).export(tmp_path / "other", verbose=False)
    before = content(tmp_path / "m")
    other = model.OpenedModel(tmp_path / "other", (SERVED,)).loaded
    save = tf.saved_model.save
    monkeypatch.setattr(tf.saved_model, "save", lambda _, path, signatures: save(other, path, other.signatures))
    assert not resaving.resaved(tmp_path / "m")
    assert content(tmp_path / "m") == before


def test_a_model_with_lookup_tables_is_refused_with_the_cure(tmp_path):
    lost(of_words(), tmp_path / "m")
    np.savez(tmp_path / "words.npz", x=np.array(["a", "b"]))
    with pytest.raises(Invalid) as refused:
        compressed(tmp_path)
    assert (refused.value.reason, refused.value.field) == ("NeverRestored", "spec.source.uri")
    assert "tf.saved_model.save(m, new, signatures=dict(m.signatures))" in refused.value.message
