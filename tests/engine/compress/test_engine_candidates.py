"""What comes out can be served: all signatures and names, any batch, float32 in and out, finite, smaller."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow_serving.apis import prediction_log_pb2

from modelpress.api.data import Data, DataSet
from modelpress.api.errors import Invalid
from modelpress.compress import bench as benches
from modelpress.compress import check, flatbuffer, forms, model, plan, source
from modelpress.compress.tflite import NotConvertible
from modelpress.compress.work import WorkArea
from modelpress.storage import listing
from modelpress.telemetry.progress import Silent

SAVED_MODEL_FILES = {"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"}


def callers(done):
    """(form, recipe) -> call, for the source and every candidate."""
    servables = {("source", ""): done.manifest.source.servable}
    servables |= {(one.servable.form, one.recipe): one.servable for one in done.manifest.candidates}
    names = done.manifest.source.signatures
    return {
        key: check.loaded(done.directory / servable.path, servable.form, names) for key, servable in servables.items()
    }


def some(shape, dtype="f4"):
    return np.random.default_rng(5).normal(size=shape).astype(dtype)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.mark.parametrize(("scheme", "forms"), [("DynamicInt8", ["TFLite"]), ("Float16", ["TFLite", "SavedModel"])])
def test_quantized_candidates_are_smaller_than_the_source_and_close_to_it(models, compress, store, scheme, forms):
    done = compress(models["image"], recipe={"steps": [{"quantize": {"scheme": scheme}}]}, store=store)
    assert [one.servable.form for one in done.manifest.candidates] == forms
    assert {one.recipe for one in done.manifest.candidates} == {f"quantize {scheme}"}
    for one in done.manifest.candidates:
        assert one.servable.size_bytes < done.manifest.source.servable.size_bytes
        assert listing.content_digest(done.directory / one.servable.path) == one.servable.digest
        files = {file.path for file in one.servable.files}
        assert files == ({"model.tflite"} if one.servable.form == "TFLite" else SAVED_MODEL_FILES)
    calls = callers(done)
    for rows in (1, 7):
        image = some((rows, 8, 8, 1))
        expected = calls.pop(("source", "")) if rows == 7 else calls[("source", "")]
        for call in calls.values():
            found = call("serving_default", {"image": image})
            assert set(found) == {"probs"}
            assert found["probs"].dtype == np.float32
            np.testing.assert_allclose(
                found["probs"], expected("serving_default", {"image": image})["probs"], atol=0.02
            )


def test_signatures_over_one_input_share_one_tflite_model(models, compress, store):
    done = compress(models["two_outputs"], store=store)
    assert done.manifest.source.signatures == ("classes", "serving_default")
    assert len(done.manifest.candidates) == 2
    calls = callers(done)
    x = some((5, 16))
    expected = calls.pop(("source", ""))
    for call in calls.values():
        both, best = call("serving_default", {"x": x}), call("classes", {"x": x})
        assert both["hidden"].shape == (5, 64)
        assert both["logits"].shape == (5, 3)
        np.testing.assert_allclose(both["logits"], expected("serving_default", {"x": x})["logits"], atol=0.8)
        assert best["best"].dtype == np.int64


def test_signatures_over_different_inputs_stay_a_saved_model_and_the_reason_is_told(models, compress, store):
    done = compress(models["two_inputs"], store=store)
    assert [one.servable.form for one in done.manifest.candidates] == ["SavedModel"]
    assert {one.reason for one in done.manifest.refused} == {"SeveralSubgraphs"}
    assert "first subgraph" in done.manifest.refused[0].message
    names = done.manifest.source.signatures
    found = model.OpenedModel(done.directory / done.manifest.candidates[0].servable.path, names)
    assert set(found.call("from_hidden", {"hidden": some((2, 64))})) == {"logits"}


def test_what_tflite_cannot_hold_is_converted_once_for_all_schemes(models, ask, tmp_path):
    request = ask(models["two_inputs"])
    found = source.find(request.source)
    area = WorkArea(tmp_path / "work")
    bench = benches.prepared(request, plan.of_recipe(request.recipe, device="CPU"), found, {}, area, Silent())
    said = []
    for _ in range(2):
        with pytest.raises(NotConvertible) as refused:
            forms.floating(bench, bench.versions.after(()))
        said.append((refused.value.reason, str(refused.value)))
    assert said[0] == said[1]
    assert said[0][0] == "SeveralSubgraphs"
    assert area.reused == 1


def test_only_the_wanted_signatures_are_kept(models, compress, store):
    done = compress(models["two_inputs"], store=store, source={"signatures": ("from_hidden",)})
    assert done.manifest.candidates[0].servable.signatures == ("from_hidden",)
    assert {one.servable.form for one in done.manifest.candidates} == {"TFLite", "SavedModel"}


def test_tensorflow_serving_finds_the_signatures_in_the_metadata(models, compress, store):
    done = compress(models["two_outputs"], store=store)
    content = (done.directory / done.manifest.candidates[0].servable.path / "model.tflite").read_bytes()
    signatures = flatbuffer.read_signatures(content)
    assert set(signatures) == {"classes", "serving_default"}
    for signature in signatures.values():
        assert signature.method_name == "tensorflow/serving/predict"
        assert b"\0" not in signature.SerializeToString()
    assert [size.size for size in signatures["serving_default"].inputs["x"].tensor_shape.dim] == [-1, 16]
    with model.quiet():
        interpreter = tf.lite.Interpreter(model_content=content)
    names = {detail["name"] for detail in interpreter.get_input_details() + interpreter.get_output_details()}
    for signature in signatures.values():
        assert {info.name for info in [*signature.inputs.values(), *signature.outputs.values()]} <= names
    assert interpreter.get_signature_list()["classes"] == {"inputs": ["x"], "outputs": ["best"]}


def test_batch_and_length_stay_dynamic_and_warm_up_requests_come_from_the_data(models, compress, tmp_path):
    ids = np.random.default_rng(1).integers(1, 100, (40, 9))
    np.savez(tmp_path / "d.npz", ids=ids)
    done = compress(models["tokens"], data=Data(evaluation=DataSet(uri=str(tmp_path / "d.npz"))))
    assert len(done.manifest.candidates) == 2
    calls = callers(done)
    expected = calls.pop(("source", ""))
    for shape in ((1, 3), (4, 21)):
        rows = np.random.default_rng(2).integers(0, 100, shape).astype("i4")
        for call in calls.values():
            found = call("serving_default", {"ids": rows})["logits"]
            np.testing.assert_allclose(found, expected("serving_default", {"ids": rows})["logits"], atol=0.2)
    warmup = done.manifest.warmup
    assert warmup is not None
    path = done.directory / warmup.path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == warmup.sha256
    records = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator()
    ]
    assert len(records) == warmup.records == 40
    assert tf.make_ndarray(records[3].predict_log.request.inputs["ids"]).tolist() == ids[3:4].tolist()


def test_float16_weights_are_cast_when_a_server_loads_them_and_never_at_a_request(models, compress, store):
    done = compress(models["two_outputs"], store=store)
    servable = next(one.servable for one in done.manifest.candidates if one.servable.form == "SavedModel")
    definition = model.meta_graph(done.directory / servable.path)
    nodes = {node.name: node for node in definition.graph_def.node}
    waiting = [info.name for one in definition.signature_def.values() for info in one.outputs.values()]
    at_requests = set()
    while waiting:
        name = waiting.pop().split(":")[0].removeprefix("^")
        if name not in at_requests:
            at_requests.add(name)
            waiting.extend(nodes[name].input)
    assert {"VarHandleOp", "ReadVariableOp"} <= {nodes[name].op for name in at_requests}
    assert not at_requests & {name for name, node in nodes.items() if node.op == "RestoreV2"}
    assert not [name for name in at_requests if nodes[name].attr["SrcT"].type == tf.float16.as_datatype_enum]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(done.directory / servable.path))
        signature = loaded.signature_def["serving_default"]
        rows = some((3, 16))
        found = session.run(signature.outputs["logits"].name, {signature.inputs["x"].name: rows})
    expected = callers(done)["source", ""]("serving_default", {"x": rows})["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=0.05)


def test_a_candidate_with_nan_or_infinite_outputs_is_refused_and_named(models, compress, store):
    done = compress(models["divides"], store=store)
    refused = {(one.form, one.recipe): one for one in done.manifest.refused}
    half = refused["SavedModel", "quantize Float16"]
    assert half.reason == "NotFinite"
    assert "in outputs of signature serving_default: y has" in half.message
    assert half.message in (done.message.message or "")


def test_a_source_that_contradicts_itself_is_refused_before_candidates_are_compared_with_it(models, compress, store):
    with pytest.raises(Invalid) as refused:
        compress(models["throws_dice"], store=store)
    assert (refused.value.reason, refused.value.field) == ("SourceNotSteady", "spec.gate.metrics[0]")
    assert "RandomUniform" in refused.value.message and "training=False" in refused.value.message


def test_random_operations_make_an_artifact_uncacheable(models, compress, store):
    gate = {"metrics": [{"type": "CosineSimilarity", "maxDrop": 0.9}]}
    throws = compress(models["throws_dice"], store=store, gate=gate)
    assert throws.manifest.deterministic is False
    (named,) = throws.manifest.random_operations
    assert named.startswith("RandomUniform (") and named.endswith("/RandomUniform)"), "its type and its node"
    assert named in throws.message.message
    steady = compress(models["two_outputs"], store=store)
    assert (steady.manifest.deterministic, steady.manifest.random_operations) == (True, ())
    assert "random" not in steady.message.message


@pytest.mark.parametrize(("name", "why"), [("counts", "changes its own state"), ("looks_up", "lookup tables")])
def test_what_cannot_be_frozen_is_refused_with_the_reason_and_the_source_is_kept(models, compress, tmp_path, name, why):
    np.savez(tmp_path / "d.npz", word=np.array(["a", "b", "c"]), x=np.zeros((3, 4), "f4"))
    done = compress(models[name], data=Data(evaluation=DataSet(uri=str(tmp_path / "d.npz"))), recipe={})
    refused = {one.form: one for one in done.manifest.refused}
    assert refused["SavedModel"].reason == "NotFreezable"
    assert why in refused["SavedModel"].message
    assert done.message.outcome == "Done"


def test_state_that_tflite_would_keep_between_requests_leaves_the_saved_model_with_the_reason(compress, tmp_path):
    """Keras 2 marks its LSTM so that the converter fuses it, with a state that no request resets."""
    tf_keras.utils.set_random_seed(0)
    x = tf_keras.Input(batch_shape=(1, 7, 32), name="x")
    network = tf_keras.Model(x, tf_keras.layers.Dense(2, name="y")(tf_keras.layers.LSTM(16)(x)))
    tf.saved_model.save(network, str(tmp_path / "lstm"))
    done = compress(tmp_path / "lstm")
    assert [one.servable.form for one in done.manifest.candidates] == ["SavedModel"]
    (refused,) = done.manifest.refused
    assert (refused.form, refused.reason) == ("TFLite", "KeepsState")
    assert "(UNIDIRECTIONAL_SEQUENCE_LSTM)" in refused.message
    calls, rows = callers(done), some((1, 7, 32))
    expected = calls.pop(("source", ""))("serving_default", {"x": rows})["y"]
    for call in calls.values():
        for _ in range(3):
            np.testing.assert_allclose(call("serving_default", {"x": rows})["y"], expected, atol=1e-2)


class _Counting(tf.Module):
    def __init__(self):
        super().__init__()
        self.count = tf.Variable(0.0, name="count")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def answer(self, x):
        return {"y": x + self.count.assign_add(1.0)}


def test_a_model_that_counts_its_requests_is_no_tflite_model(compress, tmp_path):
    counting = _Counting()
    tf.saved_model.save(counting, str(tmp_path / "counting"), signatures={"serving_default": counting.answer})
    with pytest.raises(Invalid) as refused:
        compress(tmp_path / "counting", recipe={"steps": [{"quantize": {"scheme": "DynamicInt8"}}]})
    assert refused.value.reason == "StepCannotApply"
    assert "it would keep state from one request to the next (ASSIGN_VARIABLE, READ_VARIABLE, VAR_HANDLE)" in str(
        refused.value
    )


class _Particular(tf.Module):
    """Signatures that take what others do not."""

    def __init__(self):
        super().__init__()
        words, numbers = tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64)
        self.words = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(words, numbers), 0)
        self.rows = tf.Variable(some((3, 256)), name="rows")

    @tf.function(input_signature=[tf.TensorSpec([None, 256], tf.float32, "x")])
    def plain(self, x):
        return {"y": x * self.rows[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None, 256], tf.float32, "x"), tf.TensorSpec([], tf.float32, "heat")])
    def heated(self, x, heat):
        return {"y": x / heat}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "x")])
    def squares(self, x):
        return {"y": tf.reshape(x, [-1, 7])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])
    def looks_up(self, word):
        return {"y": tf.gather(self.rows, self.words.lookup(word))}


@pytest.fixture(scope="module")
def particular(tmp_path_factory):
    """Name of a signature -> a model that has it beside `serving_default`, or, for `looks_up`, as that."""
    root, module = tmp_path_factory.mktemp("particular"), _Particular()
    for name in ("heated", "squares"):
        signatures = {"serving_default": module.plain, name: getattr(module, name)}
        tf.saved_model.save(module, str(root / name), signatures=signatures)
    tf.saved_model.save(module, str(root / "looks_up"), signatures={"serving_default": module.looks_up})
    return {name: root / name for name in ("heated", "squares", "looks_up")}


def test_an_input_without_rows_is_refused_and_its_signature_may_be_left_out(particular, compress):
    with pytest.raises(Invalid) as refused:
        compress(particular["heated"])
    assert (refused.value.reason, refused.value.field) == ("ScalarInput", "spec.source.signatures")
    assert "heated takes heat (float32 [])" in refused.value.message
    assert "spec.source.signatures: [serving_default]" in refused.value.message
    done = compress(particular["heated"], source={"signatures": ("serving_default",)})
    assert done.manifest.candidates


def test_a_source_that_fails_is_refused_with_its_words_and_the_signature(particular, compress):
    with pytest.raises(Invalid) as refused:
        compress(particular["squares"])
    assert (refused.value.reason, refused.value.field) == ("SourceDoesNotRun", "spec.source.signatures")
    assert "fails in signature squares for x float32 [8, 32]" in refused.value.message


def test_a_table_from_strings_to_int64_becomes_one_of_tflite(particular, compress, tmp_path):
    np.savez(tmp_path / "d.npz", word=np.array(["a", "b", "c"]))
    done = compress(particular["looks_up"], data=Data(evaluation=DataSet(uri=str(tmp_path / "d.npz"))))
    calls = callers(done)
    asked = {"word": np.array([b"b", b"z"], dtype=object)}
    wanted = calls[("source", "")]("serving_default", asked)["y"]
    np.testing.assert_allclose(calls["TFLite", "quantize Float16"]("serving_default", asked)["y"], wanted, atol=1e-2)


def test_a_named_form_that_does_not_run_is_refused_as_one_that_cannot_be_built(particular, compress, monkeypatch):
    def fails(*_):
        raise RuntimeError("node 3 failed to prepare")

    monkeypatch.setattr("modelpress.compress.tflite.Interpreter.call", fails)
    with pytest.raises(Invalid) as refused:
        compress(
            particular["heated"],
            source={"signatures": ("serving_default",)},
            recipe={"steps": [{"quantize": {"scheme": "Float16"}}], "format": "TFLite"},
        )
    assert (refused.value.reason, refused.value.field) == ("StepCannotApply", "spec.recipe.steps[0].quantize.scheme")
    assert "node 3 failed to prepare; use scheme: Float16 with format: SavedModel" in refused.value.message
