"""Recipes that train, from the request to what is served."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from modelpress.api.artifact import ArtifactManifest
from modelpress.api.data import Data, DataSet
from modelpress.api.errors import Invalid
from modelpress.api.recipe import Recipe
from modelpress.compress import engine, model
from modelpress.compress.model import OpenedModel
from modelpress.telemetry.progress import Silent

NOW = 1_790_000_000
SIGNATURE = "serving_default"


@pytest.fixture(scope="module")
def data(images):
    """The labelled images as training data."""
    return Data(training=DataSet(uri=str(images)))


def served(done, form="SavedModel"):
    one = next(one for one in done.manifest.candidates if one.servable.form == form)
    return OpenedModel(done.directory / one.servable.path, (SIGNATURE,)), one


def weights(directory):
    """Constants of a SavedModel with more than one axis."""
    constants = [node for node in model.meta_graph(directory).graph_def.node if node.op == "Const"]
    arrays = [tf.make_ndarray(node.attr["value"].tensor) for node in constants]
    return [array for array in arrays if array.ndim > 1]


def accuracy(opened, images):
    with np.load(images) as rows:
        found = opened.call(SIGNATURE, {"image": rows["image"]})["probs"]
        return float((found.argmax(axis=-1) == rows["label"]).mean())


def test_a_student_replaces_the_source_and_is_trained_on_pruned_and_shared(models, compress, data, images):
    steps = [
        {"fineTune": {"epochs": 3, "learningRate": 0.003}},
        {"distill": {"student": {"width": 0.5}, "learningRate": 0.01, "teacherWeight": 1}},
        {"prune": {"sparsity": 0.5, "epochs": 1, "learningRate": 0.003}},
        {"cluster": {"clusters": 16}},
        {"fineTune": {"epochs": 1, "learningRate": 0.001}},
    ]
    done = compress(models["image"], data=data, recipe={"steps": steps, "format": "SavedModel"})
    opened, candidate = served(done)
    source = OpenedModel(done.directory / done.manifest.source.servable.path, (SIGNATURE,))
    assert opened.signatures == source.signatures
    assert accuracy(opened, images) > 0.9
    assert candidate.servable.size_bytes < 0.6 * done.manifest.source.servable.size_bytes
    kernels = weights(done.directory / candidate.servable.path)
    assert len(kernels) == 3
    for kernel in kernels:
        assert (kernel == 0).mean() == pytest.approx(0.5, abs=0.01)
        assert len(np.unique(kernel)) <= 16
    assert [note.partition(":")[0] for note in candidate.notes] == [
        "fineTune",
        "distill",
        "prune",
        "cluster",
        "fineTune",
    ]


def test_event_files_and_profiles_lie_beside_the_artifact_and_change_no_digest(models, ask, data, tmp_path):
    recipe = {"steps": [{"fineTune": {"epochs": 1}}], "format": "SavedModel"}
    plain, profiled = (
        engine.compress(
            ask(models["image"], data=data, recipe=recipe, store=tmp_path / str(wanted), profile=wanted),
            progress=Silent(),
            now=NOW,
        )
        for wanted in (False, True)
    )
    assert plain.manifest == profiled.manifest
    (logs,) = (profiled.directory / "tensorboard").iterdir()
    assert len(EventAccumulator(str(logs), {"tensors": 0}).Reload().Tensors("loss")) == 400 // 32
    assert len(list(logs.glob("plugins/profile/*/*.xplane.pb"))) == 1
    assert not list(plain.directory.rglob("*.xplane.pb"))


def test_another_student_under_the_same_uri_is_another_artifact(models, ask, data, tmp_path):
    found = []
    for width in (4, 8):
        import keras

        keras.utils.set_random_seed(0)
        layers = [keras.Input((8, 8, 1), name="image"), keras.layers.Conv2D(width, 3, activation="relu")]
        layers += [keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax", name="probs")]
        keras.Sequential(layers).save(tmp_path / "student.keras")
        recipe = {
            "steps": [{"distill": {"student": {"uri": str(tmp_path / "student.keras")}}}],
            "format": "SavedModel",
        }
        request = ask(models["image"], data=data, recipe=Recipe.model_validate(recipe).plain())
        found.append(engine.compress(request, progress=Silent(), now=NOW))
    assert found[0].manifest.key != found[1].manifest.key
    sizes = [one.manifest.candidates[0].servable.size_bytes for one in found]
    assert sizes[0] < sizes[1]


def test_what_tflite_cannot_hold_is_refused_before_anything_is_trained_for_it(compress, data, tmp_path):
    kernel = tf.Variable(tf.zeros((64, 4)), name="kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, "image")])
    def answer(image):
        flat = tf.reshape(image, (-1, 64))
        digits = tf.strings.length(tf.strings.as_string(flat[:, :4]))
        return {"probs": tf.nn.softmax(flat @ kernel + tf.cast(digits, tf.float32))}

    module = tf.Module()
    module.kernel = kernel
    tf.saved_model.save(module, tmp_path / "spells", signatures=answer)
    steps = [{"fineTune": {"epochs": 1}}, {"quantize": {"scheme": "DynamicInt8"}}]
    with pytest.raises(Invalid) as refused:
        compress(tmp_path / "spells", data=data, store=tmp_path / "store", recipe={"steps": steps})
    assert refused.value.reason == "StepCannotApply"
    assert refused.value.field == "spec.recipe.steps[1].quantize.scheme"
    assert "AsString" in refused.value.message
    assert not list((tmp_path / "store").rglob("step-1-*"))


def test_what_half_precision_cannot_be_stored_for_is_refused_before_anything_is_trained_for_it(
    compress, data, tmp_path
):
    (tmp_path / "words.txt").write_text("0\n1\n")
    words = tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    module = tf.Module()
    module.kernel, module.table = tf.Variable(tf.zeros((64, 4))), tf.lookup.StaticVocabularyTable(words, 1)

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, "image")])
    def answer(image):
        flat = tf.reshape(image, (-1, 64))
        found = module.table.lookup(tf.strings.as_string(tf.cast(flat[:, :4], tf.int64)))
        return {"probs": tf.nn.softmax(flat @ module.kernel + tf.cast(found, tf.float32))}

    tf.saved_model.save(module, tmp_path / "spells", signatures=answer)
    recipe = {"steps": [{"fineTune": {"epochs": 1}}, {"quantize": {"scheme": "Float16"}}], "format": "SavedModel"}
    with pytest.raises(Invalid) as refused:
        compress(tmp_path / "spells", data=data, store=tmp_path / "store", recipe=recipe)
    assert "its lookup tables read files (assets)" in refused.value.message
    assert not list((tmp_path / "store").rglob("step-1-*"))


@pytest.mark.parametrize(
    ("step", "is_trained"),
    [({"fineTune": {"epochs": 1}}, True), ({"prune": {"sparsity": 0.5}}, False)],
    ids=["trained", "untrained"],
)
def test_a_manifest_says_in_how_many_threads_a_candidate_was_trained(models, compress, data, step, is_trained):
    done = compress(models["image"], data=data, recipe={"steps": [step], "format": "SavedModel"})
    threads = tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
    (note,) = ArtifactManifest.from_json(done.manifest.json_line()).candidates[0].notes
    assert ("the bytes follow their number" in note) == is_trained
    assert (f"trained in {threads} thread" in note) == is_trained
