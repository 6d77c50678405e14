"""examples/basic-pitch: a published model with three outputs, where every saving costs something."""

from __future__ import annotations

import numpy as np
import pytest
from example_runs import Example, Running

pytestmark = pytest.mark.xdist_group("examples")

OUTPUTS = {"note", "onset", "contour"}


def test_float16_is_refused_in_tflite_because_its_outputs_are_not_numbers(basic_pitch_run: Running) -> None:
    (refused,) = basic_pitch_run.report.refused
    assert (refused.form, refused.recipe, refused.reason) == ("TFLite", "quantize Float16", "NotFinite")
    assert "NaN" in refused.message


def test_the_source_finds_what_its_authors_found(basic_pitch_run: Running) -> None:
    for candidate in basic_pitch_run.report.candidates:
        found = {metric.output: metric.source for metric in candidate.measurements.metrics}
        assert set(found) == OUTPUTS
        assert all(value is not None and value > 0.93 for value in found.values())


def test_each_output_may_lose_a_tenth_of_its_f1(basic_pitch_run: Running) -> None:
    report = basic_pitch_run.report
    assert report.decision.serves == "Candidate", report.decision.message
    assert basic_pitch_run.winner.verdict.passed
    drops = [metric.drop for metric in basic_pitch_run.winner.measurements.metrics]
    assert all(drop is not None and drop <= 0.1 for drop in drops)


def test_f1_sees_what_integers_lose(basic_pitch_run: Running) -> None:
    """Most cells are 0: their scores hardly move, and agreement would see nothing."""
    (integers,) = [one for one in basic_pitch_run.report.trials if one.recipe == "quantize StaticInt8"]
    assert integers.verdict == "DropTooLarge"
    assert "F1 of" in integers.message
    (half,) = [
        one for one in basic_pitch_run.report.trials if (one.recipe, one.form) == ("quantize Float16", "SavedModel")
    ]
    assert half.passed


def test_served_answers_are_those_of_the_measured_bytes(basic_pitch: Example, basic_pitch_run: Running) -> None:
    window = basic_pitch.rows("evaluation")["input_2"][2:3]
    expected = basic_pitch_run.answered_by_winner({"input_2": window})
    assert set(expected) == OUTPUTS
    over_grpc, over_rest = basic_pitch_run.grpc({"input_2": window}), basic_pitch_run.rest(window.tolist())
    for name in OUTPUTS:
        np.testing.assert_allclose(over_grpc[name], expected[name], atol=1e-5)
        np.testing.assert_allclose(over_rest[name], expected[name], atol=1e-5)


def test_windows_are_cut_as_the_authors_cut_them(basic_pitch: Example) -> None:
    rows = basic_pitch.rows("evaluation")
    windows = rows["input_2"]
    assert windows.shape == (6, 43844, 1)
    assert not windows[0, :3840].any()
    np.testing.assert_array_equal(windows[0, 36164:], windows[1, : 43844 - 36164])
    assert {name: array.shape for name, array in rows.items() if name != "input_2"} == {
        "note_present": (6, 172, 88),
        "onset_present": (6, 172, 88),
        "contour_present": (6, 172, 264),
    }
