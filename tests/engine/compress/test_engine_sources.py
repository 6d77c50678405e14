"""Whatever the source is, its float32 SavedModel is kept beside the candidates; what is no model is named."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from modelpress.api.data import Data, DataSet
from modelpress.api.errors import Invalid
from modelpress.api.source import Source
from modelpress.compress import model, source
from modelpress.storage import listing
from modelpress.telemetry.progress import Silent


def refusal(action):
    with pytest.raises(Invalid) as refused:
        action()
    return refused.value


def test_the_highest_version_of_a_saved_model_is_copied_as_it_is(models, compress):
    done = compress(models["two_outputs"])
    version = models["two_outputs"] / "7"
    assert done.manifest.source.format == "SavedModel"
    assert done.manifest.source.digest == listing.content_digest(version)
    assert done.manifest.source.servable.digest == done.manifest.source.digest
    assert listing.content_digest(done.directory / done.manifest.source.servable.path) == done.manifest.source.digest


def test_a_keras_model_is_exported_under_the_names_of_its_layers(models, tmp_path):
    source.write_float32(source.find(Source(uri=str(models["image"]))), tmp_path, progress=Silent())
    signature = model.signatures(tmp_path)["serving_default"]
    assert {name: str(tensor) for name, tensor in signature.inputs.items()} == {"image": "float32 [?, 8, 8, 1]"}
    assert {name: str(tensor) for name, tensor in signature.outputs.items()} == {"probs": "float32 [?, 4]"}
    image = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype("f4")
    expected = keras.saving.load_model(models["image"]).predict(image, verbose=0)
    found = model.OpenedModel(tmp_path, ("serving_default",)).call("serving_default", {"image": image})
    np.testing.assert_allclose(found["probs"], expected, atol=1e-6)


def test_an_exported_keras_model_runs_in_a_session_as_in_a_server(models, tmp_path):
    words = keras.Input((1,), dtype="string", name="word")
    numbers = keras.layers.Embedding(4, 2)(keras.layers.StringLookup(vocabulary=["a", "b"])(words))
    keras.Model(words, keras.layers.Dense(1, name="score")(numbers)).save(tmp_path / "words.keras")
    for path, name, value in (
        (models["image"], "image", np.ones((1, 8, 8, 1), "f4")),
        (tmp_path / "words.keras", "word", np.array([[b"b"]])),
    ):
        written = tmp_path / name
        written.mkdir()
        source.write_float32(source.find(Source(uri=str(path))), written, progress=Silent())
        expected = model.OpenedModel(written, ("serving_default",)).call("serving_default", {name: value})
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            found = tf.compat.v1.saved_model.load(session, ["serve"], str(written)).signature_def["serving_default"]
            ((output, info),) = found.outputs.items()
            np.testing.assert_allclose(
                session.run(info.name, {found.inputs[name].name: value}), expected[output], atol=1e-6
            )


def test_a_keras_model_is_exported_to_equal_bytes_each_time(models, tmp_path):
    found = source.find(Source(uri=str(models["image"])))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        source.write_float32(found, tmp_path / name, progress=Silent())
    assert listing.content_digest(tmp_path / "first") == listing.content_digest(tmp_path / "second")


def test_a_keras_model_with_code_is_not_run(tmp_path, compress):
    scales = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    scales.save(tmp_path / "scales.keras")
    error = refusal(lambda: compress(tmp_path / "scales.keras"))
    assert (error.reason, error.field) == ("CodeNotTrusted", "spec.source.trust")


def test_other_content_than_the_pinned_is_refused_before_any_work(models, compress, tmp_path):
    pin = "sha256:" + "0" * 64
    error = refusal(lambda: compress(models["two_outputs"], source={"digest": pin}))
    assert (error.reason, error.field) == ("DigestMismatch", "spec.source.digest")
    assert pin in error.message
    assert listing.content_digest(models["two_outputs"] / "7") in error.message
    assert not (tmp_path / "store").exists()


def test_a_pinned_artifact_is_found_even_when_its_source_is_gone(models, compress, tmp_path):
    kept = tmp_path / "kept"
    listing_before = listing.content_digest(models["divides"] / "7")
    done = compress(models["divides"], store=kept, source={"digest": listing_before})
    again = compress(tmp_path / "gone", store=kept, source={"digest": listing_before})
    assert again.manifest == done.manifest
    assert again.reused >= 1


@pytest.mark.parametrize(
    ("files", "uri", "reason"),
    [
        ({}, "gone", "NotFound"),
        ({"m/readme.txt": b"hello"}, "m", "NotAModel"),
        ({"m/saved_model.pb": b"\xff\xff not a graph"}, "m", "NotAModel"),
        ({"m/saved_model.pb": b""}, "m", "NotAModel"),
        ({"m.keras": b"no zip"}, "m.keras", "NotAModel"),
        ({"m.bin": b"123"}, "m.bin", "NotAModel"),
        ({"m.h5": b"\x89HDF"}, "m.h5", "NotAModel"),
        ({"m.h5": b"\x89HDF\r\n\x1a\n"}, "m.h5", "NotAModel"),
        ({"m.pb": b"\xff"}, "m.pb", "NotAModel"),
    ],
)
def test_what_is_no_model_is_named(tmp_path, compress, files, uri, reason):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    error = refusal(lambda: compress(tmp_path / uri))
    assert error.reason == reason
    assert error.field in ("spec.source.uri", "spec.source.format")
    assert uri in error.message


def test_an_unknown_signature_lists_those_that_exist(models, compress):
    error = refusal(lambda: compress(models["two_outputs"], source={"signatures": ("predict",)}))
    assert (error.reason, error.field) == ("UnknownSignature", "spec.source.signatures")
    assert "classes, serving_default" in error.message


def test_data_that_does_not_fit_the_model_is_refused(models, compress, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 15), "f4"))
    data = Data(evaluation=DataSet(uri=str(tmp_path / "d.npz")))
    error = refusal(lambda: compress(models["two_outputs"], data=data))
    assert (error.reason, error.field) == ("ShapeMismatch", "spec.data.evaluation.columns.inputs.x")
    assert "float32 [?, 16]" in error.message
    assert "float32 [?, 15]" in error.message


def test_integers_are_never_guessed(models, compress):
    assert refusal(lambda: compress(models["tokens"])).reason == "DataRequired"
