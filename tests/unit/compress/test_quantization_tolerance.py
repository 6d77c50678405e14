"""Limits of the gate become losses of outputs, beside what the source is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelpress.api.gate import Gate
from modelpress.compress.evaluation import scores
from modelpress.compress.evaluation.baseline import Baseline
from modelpress.compress.quantization import tolerance

SOURCE = Baseline(value=0.9, variance=0.1)


def limits(**metric):
    return Gate.model_validate({"metrics": [metric]})


def allowed(baseline=SOURCE, **metric):
    return tolerance.of_gate(limits(**metric), (baseline,))


@pytest.mark.parametrize(
    ("metric", "answers"),
    [
        ({}, 0.01),
        ({"maxDrop": 0.1}, 0.1),
        ({"maxDropRatio": 0.1}, 0.09),
        ({"min": 0.5}, 0.4),
        ({"min": 0.5, "maxDrop": 0.02}, 0.02),
        ({"min": 0.95}, 0.01),  # few rows: the source may yet pass
    ],
)
def test_the_tightest_limit_says_how_many_answers_may_change(metric, answers):
    assert allowed(type="Accuracy", **metric).answers == pytest.approx(answers)
    assert allowed(type="Accuracy", **metric).variance == 0.05


@pytest.mark.parametrize("metric", [{"maxDropRatio": 0.1}, {"min": 0.5}])
def test_beside_an_unknown_source_the_usual_drop_is_tolerated(metric):
    assert allowed(None, type="Accuracy", **metric).answers == 0.01


@pytest.mark.parametrize(
    ("metric", "variance"), [({}, 0.01), ({"maxDrop": 0.2}, 0.2), ({"maxDropRatio": 0.03}, 0.03), ({"min": 0.98}, 0.02)]
)
def test_against_the_source_its_own_value_is_one(metric, variance):
    found = allowed(None, type="Fidelity", **metric)
    assert found.variance == pytest.approx(variance)
    assert found.answers == math.inf


@pytest.mark.parametrize("metric", [{"maxDropRatio": 0.02}, {"max": 3.06}, {"maxDrop": 0.06}])
def test_an_error_in_the_users_unit_becomes_the_variance_that_raises_it_so_far(metric):
    random = np.random.default_rng(0)
    target = random.normal(0, 50, (200_000, 1))
    output = target + random.normal(0, 3 / math.sqrt(2 / math.pi), target.shape)
    known = Baseline(float(scores.absolute_error(output, target).mean()), float(output.var()))
    assert known.value == pytest.approx(3, rel=0.01)
    share = allowed(known, type="MeanAbsoluteError", **metric).variance
    rounded = output + random.normal(0, math.sqrt(share * known.variance), target.shape)
    risen = scores.absolute_error(rounded, target).mean() - known.value
    assert risen == pytest.approx(
        tolerance.allowed_drop(limits(type="MeanAbsoluteError", **metric).metrics[0], known.value), rel=0.1
    )


def test_a_generous_error_still_holds_outputs_together():
    assert allowed(Baseline(3.0, 4.0), type="MeanAbsoluteError", max=9.0).variance == 0.05


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ({"type": "Accuracy"}, False),
        ({"type": "Accuracy", "maxDrop": 0.02}, False),
        ({"type": "Accuracy", "min": 0.5}, True),
        ({"type": "F1", "maxDropRatio": 0.1}, True),
        ({"type": "MeanAbsoluteError"}, True),
        ({"type": "Fidelity", "min": 0.9}, False),
    ],
)
def test_the_source_is_measured_only_where_a_limit_needs_it(metric, expected):
    assert tolerance.needs_baseline(limits(**metric)) is expected
