"""A net that fails in integers alone is rescued without a recipe, and a kill amid guided moves is survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from modelpress.api.data import Data
from modelpress.api.gate import Gate
from modelpress.api.recipe import Recipe
from modelpress.api.request import Request, Target
from modelpress.api.source import Source
from modelpress.compress import engine
from modelpress.compress.search import front
from modelpress.telemetry.progress import Silent

pytestmark = pytest.mark.xdist_group("server")

DEADLINE_SECONDS = 300
INTEGERS = {"quantize DynamicInt8", "quantize StaticInt8", "quantize Int4Weights"}
TRIALS = 8
"""Five rungs as TFLite, Mixed, and two guided moves."""


class _Scaled(tf.Module):
    """Half of its inputs are tiny: the scaler that made up for it was folded into the first layer's weights."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        first = random.normal(size=(16, 128))
        first[:8] *= 3000.0
        self.first = tf.Variable(first.astype("f4"), name="scaled/kernel")
        self.second = tf.Variable(random.normal(size=(128, 128)).astype("f4") / 11, name="middle/kernel")
        self.third = tf.Variable(random.normal(size=(128, 128)).astype("f4") / 11, name="upper/kernel")
        self.last = tf.Variable(random.normal(size=(128, 4)).astype("f4") / 11, name="head/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.float32, "x")])
    def classify(self, x):
        hidden = tf.nn.relu(tf.nn.relu(tf.nn.relu(x @ self.first) @ self.second) @ self.third)
        return {"probs": tf.nn.softmax(hidden @ self.last)}


def rows(count, seed):
    found = np.random.default_rng(seed).normal(size=(count, 16)).astype("f4")
    found[:, :8] /= 3000.0
    return found


@pytest.fixture(scope="module")
def request_of_scaled(tmp_path_factory):
    """Asks for a search without steps; labels are the net's own answers."""
    folder = tmp_path_factory.mktemp("scaled")
    module = _Scaled()
    tf.saved_model.save(module, str(folder / "model" / "1"), signatures={"serving_default": module.classify})
    x = rows(400, 1)
    np.savez(folder / "evaluation.npz", x=x, label=np.argmax(module.classify(tf.constant(x))["probs"], axis=1))
    np.savez(folder / "calibration.npz", x=rows(64, 2))
    sets = {role: {"uri": str(folder / f"{role}.npz")} for role in ("evaluation", "calibration")}
    return Request(
        name="scaled",
        source=Source(uri=str(folder / "model")),
        data=Data.model_validate(sets),
        recipe=Recipe.model_validate({"format": "TFLite", "search": {"trials": TRIALS, "objective": "Size"}}),
        gate=Gate.model_validate(
            {"metrics": [{"type": "Accuracy", "maxDrop": 0.02}], "size": {"maxRatio": 0.4}, "latency": {"maxRatio": 20}}
        ),
        target=Target(threads=1, concurrency=1),
        store=str(folder / "store"),
    )


@pytest.fixture(scope="module")
def killed(request_of_scaled, tmp_path_factory):
    """What the journal held when the search was killed, the first guided move being tried."""
    order = tmp_path_factory.mktemp("order") / "request.json"
    order.write_text(request_of_scaled.json_line())
    command = [sys.executable, "-c", "from modelpress.cli import main; main()", "compress", "--request", str(order)]

    def lines():
        found = Path(request_of_scaled.store).glob("default/work/*/trials.jsonl")
        return [line for path in found for line in path.read_bytes().splitlines() if b'"number"' in line]

    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not any(json.loads(line).get("parameters") for line in lines()):
            assert time.monotonic() < deadline, "no guided move was ever tried"
            assert process.poll() is None, "the search ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    return lines()


@pytest.fixture(scope="module")
def done(request_of_scaled, killed):
    """The same search, gone on with."""
    return engine.compress(request_of_scaled, progress=Silent(), now=1_790_000_000)


def test_mixed_rescues_what_no_form_in_integers_alone_holds(done):
    ladder = {trial.recipe: trial for trial in done.manifest.trials if not trial.parameters}
    assert ladder.keys() > INTEGERS
    assert {ladder[recipe].verdict for recipe in INTEGERS} == {"DropTooLarge"}
    assert [recipe for recipe, trial in ladder.items() if trial.passed] == ["quantize Mixed"]
    assert "float32: scaled" in " ".join(note for one in done.manifest.candidates for note in one.notes)


def test_a_search_killed_among_guided_moves_goes_on_with_the_next(done, killed):
    trials = done.manifest.trials
    assert [trial.number for trial in trials] == list(range(1, TRIALS + 1))
    kept = [trial.model_copy(update={"front": False, "candidate": None}).json_line().encode() for trial in trials]
    assert kept[: len(killed)] == killed
    guided = [trial for trial in trials if trial.parameters]
    assert len(guided) == 2
    assert len({trial.name for trial in trials}) == TRIALS


def test_guided_moves_spare_the_layers_that_lose_most_and_the_front_is_kept(done):
    trials = done.manifest.trials
    guided = [trial for trial in trials if trial.parameters]
    assert {trial.parameters["spared"] for trial in guided} <= {1, 2}
    assert any(trial.passed for trial in guided)
    assert {one.number for one in trials if one.front} >= {one.number for one in front.pareto(trials)}
    first = next(trial for trial in trials if trial.candidate == 1)
    assert first.passed
    assert first.size_ratio <= min(trial.size_ratio for trial in trials if trial.passed) * (1 + front.SIZE_TIE)
