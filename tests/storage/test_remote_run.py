"""The whole way with nothing on this machine: model, data and artifacts in S3, credentials in the environment."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.xdist_group("stores")

PROGRAM = [sys.executable, "-c", "from modelpress.cli import main; main()"]
DEADLINE = 300
SAVE = """
import sys, numpy, tensorflow as tf
weights = tf.Variable(numpy.load(sys.argv[1]))
model = tf.Module()
model.weights = weights
model.serve = tf.function(
    lambda x: {"scores": tf.nn.softmax(x @ weights)}, input_signature=[tf.TensorSpec([None, 64], tf.float32, name="x")]
)
tf.saved_model.save(model, sys.argv[2], signatures={"serving_default": model.serve})
"""


def test_a_run_reads_and_writes_s3_and_a_server_elsewhere_fetches_from_it(s3_store, tmp_path):
    random = np.random.default_rng(0)
    weights = random.normal(size=(64, 10)).astype(np.float32)
    np.save(tmp_path / "weights.npy", weights)
    environment = (
        os.environ | s3_store.secret | {"TF_CPP_MIN_LOG_LEVEL": "2", "MODELPRESS_STAGING": str(tmp_path / "here")}
    )
    subprocess.run(
        [sys.executable, "-c", SAVE, str(tmp_path / "weights.npy"), str(tmp_path / "model")],
        check=True,
        env=environment,
    )
    for path in (tmp_path / "model").rglob("*"):
        if path.is_file():
            s3_store.put(f"digits/{path.relative_to(tmp_path / 'model')}", path.read_bytes())
    for shard in range(2):
        x = random.normal(size=(100, 64)).astype(np.float32)
        packed = io.BytesIO()
        np.savez(packed, x=x, label=(x @ weights).argmax(1))
        s3_store.put(f"rows/val-{shard}.npz", packed.getvalue())
    resource = {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "CompressedModel",
        "metadata": {"name": "digits"},
        "spec": {
            "source": {"uri": f"{s3_store.uri}/digits/"},
            "data": {"evaluation": {"uri": f"{s3_store.uri}/rows/val-*.npz"}},
            "artifacts": {"uri": f"{s3_store.uri}/artifacts"},
            "recipe": {"format": "SavedModel", "steps": [{"quantize": {"scheme": "Float16"}}]},
            "gate": {"metrics": [{"type": "Accuracy"}], "latency": {"maxRatio": 10}},
        },
    }
    (tmp_path / "model.yaml").write_text(json.dumps(resource))
    run = [*PROGRAM, "run", "-f", str(tmp_path / "model.yaml"), "--output", "json"]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["decision"]["serves"] == "Candidate"
    assert report["candidates"][0]["measurements"]["metrics"][0]["source"] == 1.0

    elsewhere = environment | {"MODELPRESS_STAGING": str(tmp_path / "elsewhere")}
    fetch = [
        *(*PROGRAM, "fetch", f"--store={s3_store.uri}/artifacts", "--namespace=default", "--model=digits"),
        *(f"--artifact={report['artifact']}", "--servable=candidates/1", f"--digest={report['serving']['digest']}"),
        f"--into={tmp_path / 'models'}",
    ]
    fetched = subprocess.run(fetch, capture_output=True, text=True, env=elsewhere, timeout=DEADLINE)
    assert fetched.returncode == 0, fetched.stderr
    assert [path.name for path in (tmp_path / "models" / "digits").glob("*/saved_model.pb")] == ["saved_model.pb"]
