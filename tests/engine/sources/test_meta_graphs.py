"""A SavedModel may hold the graph several times; what is read, looked at and loaded is the one that is served."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from modelpress.api.errors import Invalid
from modelpress.api.gate import Gate
from modelpress.api.recipe import Quantize, Recipe
from modelpress.api.request import Request
from modelpress.api.source import Source
from modelpress.compress import engine, graph, model, rewritten, signature_file
from modelpress.compress.model import OpenedModel
from modelpress.compress.sources import soundness
from modelpress.server.failure import Failure
from modelpress.server.savedmodel import SavedModel
from modelpress.telemetry.progress import Silent

ROWS = np.ones((1, 2), np.float32)


def exported(folder, *tag_sets):
    """A graph for each set of tags over the same variables: the place of the set is what it adds to the answer."""
    folder = str(folder)
    builder = tf.compat.v1.saved_model.Builder(folder)
    for place, tags in enumerate(tag_sets):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            x = tf.compat.v1.placeholder(tf.float32, [None, 2], "x")
            scale = tf.compat.v1.get_variable("scale", initializer=tf.fill([2, 1024], 2.0), use_resource=True)
            y = tf.matmul(x, scale) + float(place)
            signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": y})
            session.run(tf.compat.v1.global_variables_initializer())
            if place == 0:
                builder.add_meta_graph_and_variables(session, tags, {"serving_default": signature})
            else:
                builder.add_meta_graph(tags, {"serving_default": signature})
    builder.save()


def answered_by_a_server(folder):
    """Loaded by the tag that stock TensorFlow Serving goes by, too."""
    servable = SavedModel(folder, tags=["serve"], config=config_pb2.ConfigProto())
    try:
        signature = servable.signatures["serving_default"]
        (answer,) = servable.run(signature.feeds, [ROWS], signature.fetches)
    finally:
        servable.close()
    return answer[0, 0]


def compressed(folder, recipe):
    request = Request(
        name="m",
        source=Source(uri=str(folder / "model")),
        recipe=Recipe.model_validate(recipe),
        gate=Gate(),
        store=str(folder / "store"),
    )
    return engine.compress(request, progress=Silent(), now=1_790_000_000)


@pytest.mark.parametrize(
    ("tag_sets", "taken"),
    [
        ([["serve"], ["serve", "tpu"]], 0),
        ([["serve", "tpu"], ["serve"]], 1),
        ([["train"], ["eval"], ["serve"]], 2),
    ],
)
def test_the_graph_that_a_server_loads_is_the_model(tmp_path, tag_sets, taken):
    exported(tmp_path / "model", *tag_sets)
    soundness.require_servable(tmp_path / "model", Source(uri="m"))
    opened = OpenedModel(tmp_path / "model", ("serving_default",))
    assert opened.call("serving_default", {"x": ROWS})["y"][0, 0] == 4 + taken
    assert answered_by_a_server(tmp_path / "model") == 4 + taken
    assert list(model.meta_graph(tmp_path / "model").meta_info_def.tags) == ["serve"]


def test_what_becomes_of_one_of_several_graphs_is_served(tmp_path):
    exported(tmp_path / "model", ["serve", "tpu"], ["serve"])
    opened = OpenedModel(tmp_path / "model", ("serving_default",))
    assert any(node.op == "MatMul" for node in graph.freeze(opened).graph.node)
    (tmp_path / "half").mkdir()
    rewritten.write(opened, tmp_path / "half", Quantize(scheme="Float16"))
    for folder in (tmp_path / "model", tmp_path / "half"):
        assert answered_by_a_server(folder) == 5


@pytest.mark.parametrize(
    ("tag_sets", "words"),
    [
        ([["serve", "gpu"]], "but {gpu, serve}; save it again with the tags {serve} (tf.saved_model.save"),
        ([["train"], ["serve", "gpu"]], "but {train} and {gpu, serve}; save"),
        ([["serve", "tpu"], ["serve", "gpu"]], "but {serve, tpu} and {gpu, serve}; save"),
        ([["train"]], "but {train}; save"),
    ],
)
def test_a_model_that_no_server_loads_is_refused_before_anything_is_computed(tmp_path, tag_sets, words):
    exported(tmp_path / "model", *tag_sets)
    with pytest.raises(Failure, match="Could not find meta graph def matching supplied tags"):
        answered_by_a_server(tmp_path / "model")
    with pytest.raises(Invalid) as refused:
        compressed(tmp_path, {"search": {"trials": 2}})
    assert (refused.value.reason, refused.value.field) == ("NotAModel", "spec.source.uri")
    assert words in refused.value.message
    assert not list((tmp_path / "store").rglob(signature_file.FILE_NAME)), "the source was not even copied"


def test_saving_such_a_model_again_makes_it_one_that_servers_load(tmp_path):
    exported(tmp_path / "odd", ["serve", "gpu"])
    loaded = tf.saved_model.load(str(tmp_path / "odd"), tags=["serve", "gpu"])
    tf.saved_model.save(loaded, str(tmp_path / "model"), signatures=dict(loaded.signatures))
    done = compressed(tmp_path, {"steps": [{"quantize": {"scheme": "Float16"}}]})
    assert [one.servable.form for one in done.manifest.candidates] == ["TFLite", "SavedModel"]
    assert answered_by_a_server(done.directory / done.manifest.source.servable.path) == 4
