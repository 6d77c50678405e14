"""What a version directory must be to be served, and warm-up."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from modelpress.server import flags, loading
from modelpress.server.failure import Code, Failure
from modelpress.server.metrics import Metrics

pytestmark = pytest.mark.xdist_group("server")

ROW = np.ones((1, 4), np.float32)


@pytest.fixture
def version(models, tmp_path):
    return shutil.copytree(models / "dense" / "1", tmp_path / "1")


def load(path, *arguments):
    values = flags.parse(["--model_base_path=/unused", *arguments])
    metrics = Metrics()
    loader = loading.Loader(flags=values, config=loading.session_config(values), metrics=metrics)
    return loader.load("dense", path), metrics


def predict_log(**inputs):
    log = prediction_log_pb2.PredictionLog()
    for alias, value in inputs.items():
        log.predict_log.request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return log


def write(version, *logs):
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())


def test_warm_up_requests_run_before_a_version_serves(version):
    write(version, predict_log(x=ROW), predict_log(x=np.ones((8, 4), np.float32)))
    servable, metrics = load(version)
    assert f'model_warmup_records_read{{model_path="{version}",status="OK"}} 2' in metrics.page()
    servable.close()


@pytest.mark.parametrize(
    ("log", "code", "text"),
    [
        (predict_log(z=ROW), Code.INVALID_ARGUMENT, "Signature input alias: x"),
        (predict_log(x=np.ones((1, 5), np.float32)), Code.INVALID_ARGUMENT, "atrix size-incompatible"),
        (b"\xff\xff", Code.INVALID_ARGUMENT, "Failed to parse warmup record"),
        (
            prediction_log_pb2.PredictionLog(session_run_log=prediction_log_pb2.SessionRunLog()),
            Code.UNIMPLEMENTED,
            "Unsupported log_type for warmup",
        ),
    ],
)
def test_a_warm_up_request_that_fails_fails_the_load(version, log, code, text):
    write(version, predict_log(x=ROW), log)
    with pytest.raises(Failure) as caught:
        load(version)
    assert caught.value.code is code
    assert text in caught.value.message


def test_a_damaged_warm_up_file_fails_the_load(version):
    write(version, predict_log(x=ROW))
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(Failure) as caught:
        load(version)
    assert caught.value.code is Code.DATA_LOSS


def test_more_than_1000_warm_up_requests_fail_the_load(version):
    write(version, *[predict_log(x=ROW)] * 1001)
    with pytest.raises(Failure, match="exceeds the maximum"):
        load(version)


def test_warm_up_can_be_switched_off(version):
    write(version, b"\xff")
    servable, _ = load(version, "--enable_model_warmup=false")
    servable.close()


def test_a_directory_without_a_model_does_not_load(tmp_path):
    with pytest.raises(Failure, match=r"Could not find SavedModel \.pb or \.pbtxt at supplied export directory path"):
        load(tmp_path)


def test_tags_that_are_not_there_do_not_load(version):
    with pytest.raises(Failure, match=r"Could not find meta graph def matching supplied tags: \{ gpu \}"):
        load(version, "--saved_model_tags=gpu")


def test_a_tflite_file_is_not_looked_at_unless_preferred(models):
    with pytest.raises(Failure, match="Could not find SavedModel"):
        load(models / "lite" / "1")


@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        ([], (0, 0)),
        (["--tensorflow_session_parallelism=3"], (3, 3)),
        (["--tensorflow_session_parallelism=3", "--tensorflow_intra_op_parallelism=1"], (1, 0)),
        (["--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=2"], (1, 2)),
    ],
)
def test_thread_flags_set_the_session(arguments, threads):
    config = loading.session_config(flags.parse(["--model_base_path=/m", *arguments]))
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == threads


def test_a_session_config_file_is_read_and_its_threads_are_not(tmp_path):
    file = tmp_path / "session.config"
    file.write_text("allow_soft_placement: true intra_op_parallelism_threads: 9")
    config = loading.session_config(flags.parse(["--model_base_path=/m", f"--tensorflow_session_config_file={file}"]))
    assert config.allow_soft_placement
    assert config.intra_op_parallelism_threads == 0
