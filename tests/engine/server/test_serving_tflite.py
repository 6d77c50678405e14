"""TFLite versions beside SavedModels in one server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf

from modelpress.server import tflite
from modelpress.server.failure import Failure

pytestmark = pytest.mark.xdist_group("server")


def test_signatures_come_from_the_metadata(server):
    body = {"instances": [{"a": [1, 2], "b": [3, 4]}]}
    assert server.post("lite:predict", body) == (200, {"predictions": [{"sum": [4.0, 6.0], "product": [3.0, 8.0]}]})


def test_without_metadata_one_signature_is_made_of_tensor_names_and_outputs_collapse(server):
    _, found = server.json("GET", "/v1/models/lite_plain/metadata")
    definitions = found["metadata"]["signature_def"]["signature_def"]
    assert list(definitions) == ["serving_default"]
    names = list(definitions["serving_default"]["inputs"])
    assert not any(":" in name for name in names)
    status, found = server.post("lite_plain:predict", {"inputs": {name: [[3, 3]] for name in names}})
    assert status == 200
    assert found["outputs"] in ([[6.0, 6.0]], [[9.0, 9.0]])


def test_any_batch_size_runs_and_callers_share_the_pool(server):
    def rows(count):
        return tf.make_ndarray(server.predict("lite_single", x=np.full((count, 2), count, np.float32)).outputs["y"])

    with ThreadPoolExecutor(3) as threads:  # a call counts against the server's limit a moment longer than it takes
        for count, found in enumerate(threads.map(rows, range(1, 25)), start=1):
            np.testing.assert_array_equal(found, np.full((count, 2), count + 1, np.float32))


def test_inputs_are_resized_one_by_one_so_that_sizes_may_contradict_for_a_moment(models):
    model = tflite.TFLite(models / "lite" / "1" / "model.tflite", interpreters=1)
    infos = model.signatures["serving_default"].inputs
    names = tuple(infos[alias] for alias in ("a", "b"))
    fetches = tuple(model.signatures["serving_default"].outputs.values())

    def run(count):
        rows = np.ones((count, 2), np.float32)
        return model.run(names, [rows, rows], fetches)[0].shape

    assert run(1) == (1, 2)
    assert run(3) == (3, 2)
    with pytest.raises(Failure, match="Failed to allocate tensors"):
        run(2)


def test_a_wrong_type_is_refused_not_reinterpreted(server):
    wrong = np.ones((1, 2), np.int32)
    with pytest.raises(grpc.RpcError) as caught:
        server.predict("lite", a=wrong, b=wrong)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_shapes_that_do_not_fit_fail_and_the_interpreter_lives_on(server):
    for _ in range(4):
        with pytest.raises(grpc.RpcError):
            server.predict("lite", a=np.ones((2, 2), np.float32), b=np.ones((3, 2), np.float32))
    good = np.ones((1, 2), np.float32)
    assert tf.make_ndarray(server.predict("lite", a=good, b=good).outputs["sum"]).tolist() == [[2, 2]]


def test_a_file_that_is_no_model_does_not_load(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"TFL3 this is not a model")
    with pytest.raises(Failure, match="Cannot build Interpreter from buffer"):
        tflite.TFLite(tmp_path / "model.tflite", interpreters=1)
