"""What one answer to every row would be worth, held against scikit-learn's dummies, and what it says of a source."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.dummy import DummyClassifier, DummyRegressor

from modelpress.api import gate
from modelpress.compress.evaluation import chance, metrics
from modelpress.status.chance import is_at_chance

ROWS = 400


def of(kind, source, target, **metric):
    """The metric of a source beside itself, in batches."""
    accumulator = metrics.accumulator(gate.Metric(type=kind, **metric), "out")
    for start in range(0, ROWS, 64):
        part = slice(start, start + 64)
        accumulator.update(source[part], source[part], target[part])
    return accumulator.measured()


@pytest.fixture
def random():
    return np.random.default_rng(3)


@pytest.fixture
def classifier(random):
    """Scores over five classes that are mostly right, and labels, of which one is the most frequent."""
    target = random.choice(5, ROWS, p=[0.4, 0.2, 0.2, 0.1, 0.1])
    scores = random.normal(size=(ROWS, 5)).astype(np.float32)
    scores[np.arange(ROWS), target] += 2
    return scores, target


def dummies(target, **options):
    rows = np.zeros((len(target), 1))
    return DummyClassifier(**options).fit(rows, target).predict(rows)


def test_of_accuracy_it_is_the_share_of_the_most_frequent_class(classifier):
    scores, target = classifier
    expected = sklearn_metrics.accuracy_score(target, dummies(target, strategy="most_frequent"))
    assert of("Accuracy", scores, target).chance == pytest.approx(expected)
    assert of("Accuracy", scores, np.eye(5)[target]).chance == pytest.approx(expected)


def test_of_top_k_it_is_the_share_of_the_k_most_frequent(classifier):
    scores, target = classifier
    assert of("TopK", scores, target, k=3).chance == pytest.approx(np.isin(target, [0, 1, 2]).mean())


def test_of_f1_over_classes_it_is_that_of_the_most_frequent_class(classifier):
    scores, target = classifier
    expected = sklearn_metrics.f1_score(target, dummies(target, strategy="most_frequent"), average="macro")
    assert of("F1", scores, target).chance == pytest.approx(expected)


def test_of_f1_over_cells_it_is_that_of_always_yes(random):
    truth, scores = (random.random((ROWS, 6)) < 0.2).astype("f4"), random.random((ROWS, 6))
    expected = sklearn_metrics.f1_score(truth.ravel(), np.ones(truth.size))
    assert of("F1", scores, truth).chance == pytest.approx(expected)


def test_of_an_error_it_is_that_of_the_median(random):
    target = random.exponential(size=(ROWS, 2))
    rows = np.zeros((ROWS, 1))
    constant = DummyRegressor(strategy="median").fit(rows, target).predict(rows)
    found = of("MeanAbsoluteError", target + 0.1, target)
    assert found.chance == pytest.approx(sklearn_metrics.mean_absolute_error(target, constant))
    assert not is_at_chance(found)


def test_a_model_that_has_learnt_is_above_chance(classifier):
    scores, target = classifier
    assert not any(is_at_chance(of(kind, scores, target)) for kind in ("Accuracy", "F1"))
    assert not is_at_chance(of("TopK", scores, target, k=2))


@pytest.mark.parametrize("kind", ["Accuracy", "F1"])
def test_labels_shifted_by_one_leave_a_source_at_chance(kind, classifier):
    scores, target = classifier
    assert is_at_chance(of(kind, scores, (target + 1) % 5))


def test_labels_of_other_rows_leave_a_source_at_chance(random, classifier):
    scores, target = classifier
    other = random.permutation(target)
    assert is_at_chance(of("Accuracy", scores, other))
    assert is_at_chance(of("AUC", scores[:, 0], other == 0))
    assert is_at_chance(of("MeanAbsoluteError", random.normal(size=ROWS), random.normal(size=ROWS)))


def test_scores_of_one_column_that_never_find_the_rare_class_are_at_chance(random):
    truth = (random.random((ROWS, 1)) < 0.05).astype("f4")
    found = of("Accuracy", np.zeros((ROWS, 1)), truth)
    assert found.chance == found.source == pytest.approx(1 - truth.mean())
    assert is_at_chance(found)


def test_few_rows_that_are_all_right_are_no_chance():
    scores, target = np.eye(2)[[0, 1, 0, 1]], np.array([0, 1, 0, 1])
    accumulator = metrics.accumulator(gate.Metric(type="Accuracy"), "out")
    accumulator.update(scores, scores, target)
    assert not is_at_chance(accumulator.measured())


def test_more_targets_than_are_kept_are_not_judged(classifier, monkeypatch):
    monkeypatch.setattr(chance, "MOST_BYTES", ROWS - 1)
    found = of("Accuracy", *classifier)
    assert found.chance is None
    assert not is_at_chance(found)


def test_a_metric_against_the_source_has_no_chance(classifier):
    scores, target = classifier
    assert not any(is_at_chance(of(kind, scores, target)) for kind in ("Fidelity", "Agreement", "CosineSimilarity"))
