"""Inputs that meet early are served as TFLite, in any batch, and sizes that differ are refused as the source does."""

from __future__ import annotations

import concurrent.futures
import functools

import numpy as np
import pytest
import tensorflow as tf

from modelpress.api.data import Data, DataSet
from modelpress.compress import alignment, check, flatbuffer, tflite
from modelpress.compress.alignment import Tie
from modelpress.compress.evaluation.client import Client, ServerRefused
from modelpress.compress.evaluation.endpoint import Endpoint
from modelpress.compress.model import OpenedModel
from modelpress.server import launch

SERVED = "serving_default"
USERS, FILMS = 90, 120


def _open(*axes, dtype=tf.float32):
    return [tf.TensorSpec(axes, dtype, name) for name in "ab"]


class _Meeting(tf.Module):
    """Two inputs, a and b, that meet at once, each in another way."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.users = tf.Variable(random.normal(size=(USERS, 32)).astype("f4"), name="users/table")
        self.films = tf.Variable(random.normal(size=(FILMS, 32)).astype("f4"), name="films/table")
        self.hidden = tf.Variable(random.normal(size=(64, 32)).astype("f4") / 8, name="hidden/kernel")
        self.head = tf.Variable(random.normal(size=(32, 1)).astype("f4") / 8, name="head/kernel")
        words = tf.lookup.KeyValueTensorInitializer(["yes", "no"], tf.constant([1, 2], tf.int64))
        self.answers = tf.lookup.StaticHashTable(words, -1)
        self.filters = tf.Variable(random.normal(size=(3, 3, 2, 4)).astype("f4"), name="conv/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name) for name in ("user", "film")])
    def rating(self, user, film):
        met = tf.concat([tf.gather(self.users, user), tf.gather(self.films, film)], axis=1)
        return {"rating": tf.nn.relu(met @ self.hidden) @ self.head}

    @tf.function(input_signature=_open(None, 8, 8, 2))
    def images(self, a, b):
        return {"y": tf.nn.conv2d(a - b, self.filters, 1, "SAME")}

    @tf.function(input_signature=_open(None, None, dtype=tf.int64))
    def sequences(self, a, b):
        return {"y": tf.stack([a, b], axis=2)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "a"), tf.TensorSpec([None, 3], tf.bool, "b")])
    def words(self, a, b):
        return {"y": tf.concat([tf.expand_dims(tf.equal(a, "yes"), 1), b], axis=1)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, "a"),
            *(tf.TensorSpec([None, 1], tf.string, name) for name in "bc"),
            tf.TensorSpec([None, 2], tf.string, "d"),
        ]
    )
    def columns(self, a, b, c, d):
        """A table of people's data: numbers, and strings in columns of one or more."""
        return {"y": tf.concat([a, *(tf.cast(tf.equal(one, "yes"), tf.float32) for one in (b, c, d))], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="a"), tf.TensorSpec([None, 1], tf.string, "b")])
    def embedded(self, a, b):
        """As Keras writes a StringLookup, an Embedding and a Flatten."""
        places = self.answers.lookup(b)
        met = tf.gather(self.users, tf.where(places < 0, places + 1, places))
        return {"y": tf.concat([a, tf.reshape(met, [tf.shape(met)[0], 32])], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None, size], tf.string, name) for name, size in (("a", 1), ("b", 3))])
    def repeated(self, a, b):
        return {"y": self.answers.lookup(a) * self.answers.lookup(b)}

    @tf.function(input_signature=_open(None, 4))
    def products(self, a, b):
        return {"y": tf.matmul(a, b, transpose_b=True)}


@pytest.fixture(scope="module")
def meeting(tmp_path_factory):
    """Name of a function -> directory of a model that serves it."""
    root, module = tmp_path_factory.mktemp("meeting"), _Meeting()
    for name in ("rating", "images", "sequences", "words", "columns", "embedded", "repeated", "products"):
        tf.saved_model.save(module, str(root / name / "1"), signatures={SERVED: getattr(module, name)})
    return root


def _rows(opened, count):
    random = np.random.default_rng(count)
    made = {
        "string": lambda shape: random.choice(np.array([b"yes", b"no"], dtype=object), shape),
        "bool": lambda shape: random.random(shape) > 0.5,
        "int64": lambda shape: random.integers(0, USERS, shape),
        "float32": lambda shape: random.normal(size=shape).astype("f4"),
    }
    inputs = opened.signatures[SERVED].inputs
    return {key: made[one.dtype](tuple(size or count for size in one.shape)) for key, one in inputs.items()}


@pytest.mark.parametrize(
    ("name", "leader", "led"),
    [("images", "a", "b"), ("sequences", "a", "b"), ("words", "a", "b"), ("columns", "b", "acd")],
)
def test_tied_inputs_survive_being_resized_one_by_one_and_give_the_same_answers(meeting, name, leader, led):
    opened = OpenedModel(meeting / name / "1", (SERVED,))
    ties = alignment.ties(opened, SERVED, _rows(opened, 3))
    assert {(one.name, one.leader) for one in ties} == {(one, leader) for one in led}
    content = tflite.convert(opened, "Float32", ties=ties)
    assert tflite.resized_one_by_one(content, SERVED, [_rows(opened, count) for count in (5, 2, 7)]) is None
    for count in (1, 6):
        rows = _rows(opened, count)
        found = tflite.Interpreter(content).call(SERVED, rows)["y"]
        np.testing.assert_allclose(found, opened.call(SERVED, rows)["y"], rtol=1e-5, atol=1e-5)


def test_the_first_request_of_one_row_is_answered_where_a_table_feeds_an_embedding(meeting):
    opened = OpenedModel(meeting / "embedded" / "1", (SERVED,))
    rows = _rows(opened, 1)
    content = tflite.convert(opened, "Float32", ties=alignment.ties(opened, SERVED, _rows(opened, 3)))
    found = tflite.Interpreter(content).call(SERVED, rows)["y"]
    np.testing.assert_allclose(found, opened.call(SERVED, rows)["y"], rtol=1e-5, atol=1e-5)


def test_what_repeats_the_rows_of_a_table_keeps_no_shape_of_the_narrower_one(meeting):
    opened = OpenedModel(meeting / "repeated" / "1", (SERVED,))
    content = tflite.convert(opened, "Float32", ties=alignment.ties(opened, SERVED, _rows(opened, 3)))
    found = tflite.Interpreter(content).call(SERVED, _rows(opened, 4))["y"]
    np.testing.assert_allclose(found, opened.call(SERVED, _rows(opened, 4))["y"])
    declared = flatbuffer.read_signatures(content)[SERVED].outputs["y"].tensor_shape
    assert [one.size for one in declared.dim] in ([], [-1, 3])


@pytest.mark.parametrize(("longer", "shorter"), [("a", "b"), ("b", "a")])
def test_tied_inputs_of_different_sizes_fail_instead_of_losing_rows(meeting, longer, shorter):
    opened = OpenedModel(meeting / "images" / "1", (SERVED,))
    content = tflite.convert(opened, "Float32", ties=[Tie("b", 0, "a")])
    with pytest.raises(RuntimeError, match="index out of bounds"):
        tflite.Interpreter(content).call(SERVED, {longer: _rows(opened, 5)[longer], shorter: _rows(opened, 3)[shorter]})


def test_inputs_that_the_model_takes_in_sizes_of_their_own_are_not_tied(meeting):
    opened = OpenedModel(meeting / "products" / "1", (SERVED,))
    assert alignment.ties(opened, SERVED, _rows(opened, 3)) == ()


def test_that_one_row_is_no_longer_repeated_for_many_is_told(meeting):
    opened = OpenedModel(meeting / "images" / "1", (SERVED,))
    ties = alignment.ties(opened, SERVED, _rows(opened, 3))
    assert ties == (Tie("b", 0, "a", repeats=True),)
    assert alignment.notes(ties) == ("a request has as many rows of b as of a; one row is not repeated for many",)


@pytest.fixture(scope="module")
def recommended(meeting, tmp_path_factory):
    """Data for the recommender."""
    path = tmp_path_factory.mktemp("ratings") / "ratings.npz"
    random = np.random.default_rng(1)
    np.savez(path, user=random.integers(0, USERS, 200), film=random.integers(0, FILMS, 200))
    return Data(evaluation=DataSet(uri=str(path)))


@pytest.mark.parametrize("scheme", ["Float16", "StaticInt8"])
def test_every_scheme_takes_inputs_that_meet_at_once(meeting, recommended, compress, scheme):
    recipe = {"steps": [{"quantize": {"scheme": scheme}}], "format": "TFLite"}
    done = compress(meeting / "rating", data=recommended, recipe=recipe)
    assert [one.servable.form for one in done.manifest.candidates] == ["TFLite"]


def test_two_images_that_are_subtracted_become_int8_with_a_note(meeting, compress):
    done = compress(meeting / "images", recipe={"steps": [{"quantize": {"scheme": "DynamicInt8"}}]})
    assert [one.servable.form for one in done.manifest.candidates] == ["TFLite"]
    assert (
        "a request has as many rows of b as of a; one row is not repeated for many" in done.manifest.candidates[0].notes
    )


def test_a_recommender_becomes_int8_and_a_server_answers_every_size_of_batch(meeting, recommended, compress, tmp_path):
    recipe = {"steps": [{"quantize": {"scheme": "DynamicInt8"}}]}
    done = compress(meeting / "rating", data=recommended, recipe=recipe)
    servable = done.manifest.candidates[0].servable
    assert (servable.form, servable.size_bytes < done.manifest.source.servable.size_bytes / 2) == ("TFLite", True)
    source = check.loaded(done.directory / done.manifest.source.servable.path, "SavedModel", (SERVED,))
    random = np.random.default_rng(2)
    base = (done.directory / servable.path).parent
    with launch.start_server("films", base, threads=2, tflite=True, log_path=tmp_path / "server.log") as server:
        server.wait_available()
        endpoint = Endpoint(grpc=server.grpc_address, rest=server.rest_address, model="films")
        with Client(endpoint, SERVED) as client, concurrent.futures.ThreadPoolExecutor(4) as many:
            asked = [
                {"user": random.integers(0, USERS, count), "film": random.integers(0, FILMS, count)}
                for count in (1, 7, 3, 32, 2, 32, 1, 5)
            ]
            for rows, answer in zip(asked, many.map(functools.partial(client.predict, rows=""), asked), strict=True):
                np.testing.assert_allclose(answer["rating"], source(SERVED, rows)["rating"], atol=0.1)
            with pytest.raises(ServerRefused, match="out of bounds"):
                client.predict({"user": np.arange(3), "film": np.arange(4)}, rows="")
