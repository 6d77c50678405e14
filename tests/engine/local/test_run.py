"""`modelpress run` from a file to answers, as a user runs it: real engine, real model servers, real sidecar."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from typer.testing import CliRunner

from modelpress import cli

PROGRAM = [sys.executable, "-c", "from modelpress.cli import main; main()", "run"]
DEADLINE = 300
JSON = ["--output", "json"]
RESOURCE = {
    "apiVersion": "modelpress.dev/v1alpha1",
    "kind": "CompressedModel",
    "metadata": {"name": "digits"},
    "spec": {
        "source": {"uri": "model"},
        "data": {"evaluation": {"uri": "val.npz"}},
        "recipe": {"format": "SavedModel", "steps": [{"quantize": {"scheme": "Float16"}}]},
        "gate": {"metrics": [{"type": "Accuracy"}], "latency": {"maxRatio": 10}},
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A directory with a model, its evaluation data and a resource, as a user keeps them."""
    directory = tmp_path_factory.mktemp("project")
    random = np.random.default_rng(0)
    weights = random.normal(size=(64, 10)).astype(np.float32)

    class Digits(tf.Module):
        def __init__(self):
            super().__init__()
            self.weights = tf.Variable(weights)

        @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, name="x")])
        def serve(self, x):
            return {"scores": tf.nn.softmax(x @ self.weights)}

    model = Digits()
    tf.saved_model.save(model, str(directory / "model"), signatures={"serving_default": model.serve})
    x = random.normal(size=(200, 64)).astype(np.float32)
    np.savez(directory / "val.npz", x=x, label=(x @ weights).argmax(1))
    return directory


def written(project, name, **spec):
    """A file of the resource with blocks of its spec replaced; JSON is YAML."""
    path = project / f"{name}.yaml"
    path.write_text(json.dumps({**RESOURCE, "spec": {**RESOURCE["spec"], **spec}}))
    return path


def started(*arguments):
    """The program under way, its two streams to be read."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def run(*arguments):
    """Exit status, standard output, standard error."""
    process = started(*arguments)
    output, error = process.communicate(timeout=DEADLINE)
    return process.returncode, output, error


def is_listening(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture(scope="module")
def first(project):
    """The report of the first run."""
    status, output, error = run("-f", written(project, "model"), "--output", "json")
    assert status == 0, error
    return json.loads(output)


def test_what_passes_the_gate_is_served_and_the_report_says_why(first):
    (candidate,) = first["candidates"]
    assert candidate["verdict"]["passed"]
    assert first["decision"]["serves"] == "Candidate"
    assert first["serving"]["digest"] == candidate["digest"]
    assert candidate["evidence"] == "Labelled"
    assert candidate["measurements"]["metrics"][0]["source"] == 1.0
    assert candidate["measurements"]["memoryBytes"]["ratio"] > 0
    latency = candidate["measurements"]["latencyMilliseconds"]
    assert latency["p50"]["source"] > 0
    assert latency["constant"] > 0
    if "net" in latency:  # so small a model may drown in the server's own time
        assert 0 < latency["net"]["source"] < latency["p50"]["source"]


def test_repeated_requests_are_answered_by_the_cache(first):
    traffic = first["traffic"]
    assert traffic["hits"] == traffic["cached"]["requests"] > 0
    assert traffic["cached"]["p50"] < traffic["uncached"]["p95"]


def test_page_and_document_lie_beside_the_artifact(first):
    directory = Path(first["directory"])
    assert json.loads((directory / "report.json").read_text()) == first
    assert "<svg" in (directory / "report.html").read_text()


def test_the_report_is_shown_again_from_the_store(first, project):
    shown = [CliRunner().invoke(cli.app, ["report", "-f", str(project / "model.yaml"), *more]) for more in ([], JSON)]
    assert json.loads(shown[1].stdout) == first
    assert "source beside candidates" in shown[0].stdout
    assert first["decision"]["message"][:40] in shown[0].stdout
    trials = CliRunner().invoke(cli.app, ["trials", "--artifact", first["directory"]])
    assert "Nothing was searched for" in trials.stdout


def test_a_report_that_is_not_there_is_told_with_the_cure(project, tmp_path):
    result = CliRunner().invoke(cli.app, ["report", "-f", str(project / "model.yaml"), "--store", str(tmp_path)])
    assert "modelpress run -f" in str(result.exception)


def test_nothing_is_left_running(first):
    assert not is_listening(first["serving"]["grpc"])
    assert not is_listening(first["serving"]["rest"].split("/")[2])


def test_a_stricter_gate_is_judged_from_what_was_measured_and_nothing_is_served(first, project):
    limits = {"size": {"max": "1"}, "memory": {"max": "450Mi"}}
    file = written(project, "strict", gate={**RESOURCE["spec"]["gate"], **limits})
    status, output, error = run("-f", file, "--output", "json")
    second = json.loads(output)
    assert status == 3, error
    assert (second["decision"]["serves"], second["decision"]["reason"]) == ("Nothing", "GateFailed")
    (candidate,) = second["candidates"]
    assert (candidate["verdict"]["reason"], "emory" in candidate["verdict"]["message"]) == ("TooLarge", False)
    told = [said for said in second["source"].get("warnings", ()) if "gate.memory.max was judged without" in said]
    assert len(told) == candidate["server"].startswith("modelpress serve")
    assert "serving" not in second


def test_the_source_is_kept_serving_where_the_file_asks_for_it_until_the_program_is_ended(first, project):
    gate = {**RESOURCE["spec"]["gate"], "size": {"max": "1"}, "onFailure": "ServeSource"}
    cache = {"policy": "TinyLFU", "disk": {"size": "16Mi"}, "prefetch": {"uri": "val.npz", "samples": 20}}
    process = started("-f", written(project, "keep", gate=gate, cache=cache), "--output", "json", "--keep-serving")
    try:
        report = _document(process)
        assert report["decision"]["serves"] == "Source"
        assert report["reused"] >= 1
        assert [one["digest"] for one in report["candidates"]] == [one["digest"] for one in first["candidates"]]
        serving = report["serving"]
        request = predict_pb2.PredictRequest()
        request.model_spec.name = serving["model"]
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros((2, 64), np.float32)))
        with grpc.insecure_channel(serving["grpc"]) as channel:
            answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
        np.testing.assert_allclose(tf.make_ndarray(answer.outputs["scores"]), 0.1, atol=1e-6)
        with urllib.request.urlopen(serving["rest"], timeout=30) as status:
            assert b"AVAILABLE" in status.read()
        with urllib.request.urlopen(f"{serving['admin']}/state", timeout=30) as state:
            found = json.load(state)["cache"]
        assert (found["effectivePolicy"], found["tiers"]["disk"]["limitBytes"]) == ("TinyLFU", 16 * 2**20)
        prefetch = found["prefetch"]
        assert (prefetch["total"], prefetch["unsuitable"] + prefetch["failed"]) == (20, 0)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert not is_listening(serving["grpc"])
    finally:
        process.kill()
        process.communicate()


def _document(process):
    """The JSON document, which ends with a brace in the first column."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            return json.loads("".join(lines))
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"source": {"uri": "nowhere"}}, "spec.source.uri: "),
        ({"source": {"uri": "model", "digest": "sha256:" + "0" * 64}}, "spec.source.digest: "),
        ({"data": {"evaluation": {"uri": "none.npz"}}}, "spec.data.evaluation.uri: no file is at"),
        ({"cache": {"ttl": "0s"}}, "spec.cache.ttl: "),
    ],
)
def test_bad_input_ends_with_64_the_field_and_no_stack_trace(project, tmp_path, spec, said):
    status, _, error = run("-f", written(project, "bad", **spec), "--store", tmp_path)
    assert status == 64
    assert said in error
    assert "Traceback" not in error


def test_a_file_that_is_not_there_is_told(tmp_path):
    status, _, error = run("-f", tmp_path / "none.yaml")
    assert status == 64
    assert "none.yaml cannot be read" in error
