"""Values of a metric with the influence of each row on it, from which the error of a paired difference follows.

To first order a metric over n rows is the mean of its influences, so the standard error of (source - candidate) is the
standard deviation of the rows' differences over the square root of n: correlated errors cancel, as they should.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from modelpress.compress.evaluation.scores import Array, Counts, Floats


class Estimate(NamedTuple):
    """A value, and one influence a row."""

    value: float
    influence: Floats


def mean(rows: Floats) -> Estimate:
    """The mean of per-row scores."""
    return Estimate(float(rows.mean()), rows)


def ratio(numerator: Floats, denominator: Floats) -> Estimate:
    """Sum of numerators over sum of denominators; 0 where nothing is there to divide by."""
    total = denominator.sum()
    if total == 0:
        return Estimate(0.0, np.zeros_like(numerator))
    value = numerator.sum() / total
    return Estimate(float(value), (numerator - value * denominator) / denominator.mean())


def f1(found: Counts) -> Estimate:
    """F1 over all cells of all rows (micro average); 0 where nothing is positive."""
    doubled = 2 * found.true_positives
    return ratio(doubled, doubled + found.false_positives + found.false_negatives)


def macro_f1(predicted: Array, actual: Array) -> Estimate:
    """Mean over the classes that occur of each class's F1; inputs are class numbers, one or more a row."""
    present = np.union1d(predicted, actual)
    rows = len(actual)
    predicted, actual = predicted.reshape(rows, -1), actual.reshape(rows, -1)
    parts = []
    for number in present:
        said, is_so = predicted == number, actual == number
        doubled = 2.0 * (said & is_so).sum(axis=1)
        parts.append(ratio(doubled, doubled + (said ^ is_so).sum(axis=1)))
    return Estimate(float(np.mean([part.value for part in parts])), np.mean([part.influence for part in parts], axis=0))


def auc(scores: Array, truth: Array) -> Estimate | None:
    """Area under the ROC curve over all cells, with DeLong's components; None where only one class occurs.

    Inputs have one row each; ties count a half.
    """
    rows, flat, is_so = len(scores), scores.reshape(-1), truth.reshape(-1)
    positives, negatives = int(is_so.sum()), int((~is_so).sum())
    if not positives or not negatives:
        return None
    within = np.empty(len(flat))
    within[is_so], within[~is_so] = _ranks(flat[is_so]), _ranks(flat[~is_so])
    below = (_ranks(flat) - within) / np.where(is_so, negatives, positives)
    component = np.where(is_so, below, 1 - below)
    value = float(component[is_so].mean())
    weight = np.where(is_so, len(flat) / positives, len(flat) / negatives)
    return Estimate(value, ((component - value) * weight).reshape(rows, -1).mean(axis=1))


def _ranks(values: Array) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    shared: Floats = (ends - (counts - 1) / 2)[inverse]
    return shared


def standard_error(source: Floats | None, candidate: Floats) -> float | None:
    """Of the difference of two estimates on the same rows, or of one alone; None for fewer than two rows."""
    difference = candidate if source is None else source - candidate
    if len(difference) < 2:
        return None
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return error if math.isfinite(error) else None
