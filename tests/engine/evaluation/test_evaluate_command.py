"""`modelpress evaluate` beside two servers that run already, as in the Job: latency is told net of the server, too."""

from __future__ import annotations

import contextlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from modelpress import cli
from modelpress.api.data import Data, DataSet
from modelpress.api.gate import Gate
from modelpress.api.message import Message
from modelpress.api.recipe import Recipe
from modelpress.api.request import Request
from modelpress.api.source import Source
from modelpress.compress import engine
from modelpress.compress.evaluation import latency
from modelpress.server import assembly, flags, ports
from modelpress.status import gate
from modelpress.telemetry.progress import Silent

pytestmark = pytest.mark.xdist_group("server")


class _Dense(tf.Module):
    """A model of some width."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=(32, 16)).astype("f4"), name="kernel")
        self.wide = tf.Variable(random.normal(0, 512**-0.5, size=(512, 512)).astype("f4"), name="wide")

    @tf.function(input_signature=[tf.TensorSpec([None, 32], tf.float32, "x")])
    def answer(self, x):
        hidden = tf.tile(x, [1, 16])
        for _ in range(16):
            hidden = tf.nn.relu(hidden @ self.wide)
        return {"y": hidden[:, :32] @ self.kernel}


@pytest.fixture
def compressed(tmp_path):
    """The request and the artifact of a small model with one TFLite candidate."""
    module = _Dense()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.answer})
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(1).normal(size=(64, 32)).astype("f4"))
    request = Request(
        name="dense",
        source=Source(uri=str(tmp_path / "model")),
        data=Data(evaluation=DataSet(uri=str(tmp_path / "rows.npz"))),
        recipe=Recipe.model_validate({"steps": [{"quantize": {"scheme": "Float16"}}], "format": "TFLite"}),
        gate=Gate(),
        store=str(tmp_path / "store"),
    )
    return request, engine.compress(request, progress=Silent(), now=1)


@contextlib.contextmanager
def server(root, servable, *arguments):
    """Flags that name a server of `servable`, whose models it has in `root`, which is called otherwise here."""
    shutil.copytree(servable, root / "seen-by-server" / "dense" / servable.name)
    (root / "here").symlink_to(root / "seen-by-server")
    grpc, rest = ports.unused(), ports.unused()
    base = root / "seen-by-server" / "dense"
    values = flags.parse(
        [f"--port={grpc}", f"--rest_api_port={rest}", "--model_name=dense", f"--model_base_path={base}", *arguments]
    )
    assembled = assembly.assemble(values)
    running, web = assembly.listen(assembled, values, host="127.0.0.1")
    try:
        yield f"127.0.0.1:{grpc}", f"127.0.0.1:{rest}"
    finally:
        assembled.versions.stop()
        running.stop(5).wait(10)
        web.stop()


@pytest.fixture
def evaluated(compressed, tmp_path, monkeypatch):
    """Runs the command with more flags; returns its message."""
    plan = latency.Plan
    monkeypatch.setattr(latency, "Plan", lambda *given, **_: plan(*given, seconds=0.2, blocks=4, min_requests=8))
    request, done = compressed
    (tmp_path / "request.json").write_text(request.json_line())

    def run(*more):
        (tmp_path / "source").mkdir()
        (tmp_path / "candidate").mkdir()
        candidate = done.manifest.candidates[0].servable
        with (
            server(tmp_path / "source", done.directory / done.manifest.source.servable.path) as source_at,
            server(tmp_path / "candidate", done.directory / candidate.path, "--prefer_tflite_model=true") as at,
        ):
            told = CliRunner().invoke(
                cli.app,
                [
                    "evaluate",
                    f"--artifact={done.manifest.key}",
                    "--candidate=1",
                    f"--source-grpc={source_at[0]}",
                    f"--source-rest={source_at[1]}",
                    f"--candidate-grpc={at[0]}",
                    f"--candidate-rest={at[1]}",
                    f"--request={tmp_path / 'request.json'}",
                    "--output=json",
                    *more,
                ],
            )
        assert told.exit_code == 0, told.output
        return Message.from_json(told.stdout)

    return run


def test_latency_is_told_net_of_the_server_where_its_models_can_be_added_to(evaluated, windows, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "is_undecided", lambda *_: True)
    evaluated(
        f"--source-models={tmp_path / 'source' / 'here'}",
        f"--candidate-models={tmp_path / 'candidate' / 'here'}",
    )
    assert len(windows) == 2
    for times in windows:
        assert len(times.source_constant) == len(times.candidate_constant) == len(times.source)
    assert {one.name for one in (tmp_path / "source" / "here").iterdir()} == {"dense", "dense-constant"}


def test_latency_is_told_gross_where_nothing_can_be_added_to_a_server(evaluated, windows, tmp_path):
    message = evaluated("--source-models=/proc", f"--candidate-models={tmp_path / 'candidate' / 'here'}")
    assert not windows[0].source_constant
    assert message.measured.latency_milliseconds.net is None
    assert message.measured.latency_milliseconds.gross.ratio > 0
