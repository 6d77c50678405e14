"""A search finds what passes, is not shaken by a kill, and says how near it came where nothing passes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from modelpress import cli
from modelpress.api.errors import Invalid
from modelpress.compress import engine
from modelpress.compress.search import domination
from modelpress.server import launch
from modelpress.telemetry.progress import Silent

pytestmark = pytest.mark.xdist_group("server")

NOW = 1_790_000_000
DEADLINE_SECONDS = 900


def searched(request, **options):
    return engine.compress(request, progress=Silent(), now=NOW, **options)


def lines(tmp_path):
    """The trials of the journal, without what was only begun."""
    journals = tmp_path.glob("store/default/work/*/trials.jsonl")
    return [line for path in journals for line in path.read_bytes().splitlines() if b'"number"' in line]


def test_a_search_killed_in_the_middle_goes_on_with_the_next_trial(ask, windows, tmp_path):
    request = ask(recipe={"search": {"trials": 3}})
    (tmp_path / "request.json").write_text(request.json_line())
    command = [sys.executable, "-c", "from modelpress.cli import main; main()", "compress"]
    command += ["--request", str(tmp_path / "request.json")]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not lines(tmp_path):
            assert time.monotonic() < deadline, "the first trial never came"
            assert process.poll() is None, "the search ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    before = lines(tmp_path)
    done = searched(request)
    trials = done.manifest.trials
    assert [trial.number for trial in trials] == [1, 2, 3]
    kept = [trial.model_copy(update={"front": False, "candidate": None}).json_line().encode() for trial in trials]
    assert kept[: len(before)] == before
    assert done.reused >= 1 + len(before)
    assert 1 <= len(done.manifest.candidates) <= 3
    best = done.manifest.candidates[0]
    winner = next(trial for trial in trials if trial.candidate == 1)
    assert (best.recipe, best.servable.form) == (winner.recipe, winner.form)
    assert winner.passed and winner.front
    assert winner.size_ratio < 0.5
    assert winner.latency_ratio is not None
    assert windows and all(len(times.source_constant) == len(times.source) for times in windows)
    assert done.message.trials[0].verdict == "Passed"
    listed = CliRunner().invoke(cli.app, ["trials", "--artifact", str(done.directory)])
    assert listed.stdout.strip().splitlines()[-1].startswith("3 trials; the best: quantize")


def test_a_search_without_success_offers_the_nearest_and_says_how_near_it_was(ask):
    done = searched(ask(recipe={"search": {"trials": 3}}, gate={"size": {"maxRatio": 0.01}}))
    assert {trial.verdict for trial in done.manifest.trials} == {"TooLarge"}
    assert len(done.manifest.candidates) == 3
    assert "3 trials, none passed; the nearest: quantize" in done.message.message
    assert "x the source's, 0.01 x is allowed" in done.message.message


def test_a_size_that_no_scheme_alone_comes_down_to_is_reached_with_fewer_filters(ask):
    done = searched(ask(recipe={"search": {"trials": 5}}, gate={"size": {"maxRatio": 0.03}}))
    *ladder, last = done.manifest.trials
    assert {(trial.form, trial.verdict) for trial in ladder} == {("TFLite", "TooLarge")}
    assert last.passed and last.recipe.startswith("prune Filter Reconstruction 40 %; quantize ")
    assert "5 trials; the best: prune Filter" in done.message.message


def test_a_search_for_fidelity_measures_floats_too_and_an_absolute_limit_leaves_out_the_local_server(ask, monkeypatch):
    monkeypatch.setattr(domination, "SLOWER", 0.0)
    monkeypatch.setattr(launch, "BINARY", "not-installed")
    recipe = {"format": "TFLite", "search": {"trials": 4, "objective": "Metric"}}
    limits = {"metrics": [{"type": "Accuracy", "maxDrop": 1}], "memory": {"max": "500Mi"}, "latency": {"max": "10s"}}
    trials = searched(ask(recipe=recipe, gate=limits)).manifest.trials
    assert [trial.recipe for trial in trials][-1] == "quantize Float16"
    assert {trial.verdict for trial in trials} == {"Passed"}
    assert all(trial.latency_ratio is not None for trial in trials)


def test_no_trial_begins_when_time_is_up(ask):
    ticks = iter(range(0, 10_000, 200))
    request = ask(recipe={"search": {"timeout": "10m"}}, gate={"size": {"maxRatio": 0.01}})
    assert len(searched(request, clock=lambda: next(ticks)).manifest.trials) == 1


def test_where_time_is_up_before_the_first_trial_nothing_is_published(ask, tmp_path):
    ticks = iter(range(0, 100_000, 1_000))
    with pytest.raises(Invalid, match="the 10m were over before the first trial began") as refused:
        searched(ask(recipe={"search": {"timeout": "10m"}}), clock=lambda: next(ticks))
    assert (refused.value.reason, refused.value.field) == ("OutOfTime", "spec.recipe.search.timeout")
    assert not [*tmp_path.glob("store/**/manifest.json")]


def test_iterations_are_all_tried_and_told_apart(ask):
    steps = [{"prune": {"sparsity": 0.5}}]
    recipe = {"steps": steps, "iterations": 2, "format": "TFLite"}
    done = searched(ask(recipe=recipe, gate={"size": {"maxRatio": 0.01}}))
    assert len(done.manifest.trials) == 2
    assert {one.iteration for one in done.manifest.candidates} == {1, 2}
    second = next(one for one in done.manifest.candidates if one.iteration == 2)
    assert ["(25.00%)" in second.notes[0], "(50.00%)" in second.notes[1]] == [True, True]
