"""How much of the variance of the source's outputs a candidate reproduces (R squared), without keeping the outputs."""

from __future__ import annotations

import numpy as np

from modelpress.api.measurement import MetricMeasured
from modelpress.compress.evaluation import estimates, scores
from modelpress.compress.evaluation.scores import Array, Floats

CONSTANT = 1e-10
"""Outputs whose variance is below this share of their energy count as constant."""


class Fidelity:
    """1 - squared error / squared deviation of the source's outputs from their mean over rows, all cells pooled.

    The same as scikit-learn's `r2_score(multioutput="variance_weighted")`. Where the source's output does not vary at
    all (or there is one row only) its energy takes the place of its variance. Integers, booleans and strings have no
    variance that means anything: for them it is the share of equal values.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._errors: list[Floats] = []
        self._deviations: list[Floats] = []
        self._energies: list[Floats] = []
        self._first_mean: Floats | None = None
        self._shifted_sum: Floats | float = 0.0
        self._is_exact = False
        self._is_finite = True

    def update(self, source: Array, candidate: Array, target: Array | None) -> None:
        """Take a batch; targets are not looked at."""
        self._is_finite &= scores.is_finite(source) and scores.is_finite(candidate)
        if not self._is_finite:
            return
        if source.dtype.kind != "f":
            self._is_exact = True
            self._errors.append(1 - scores.per_row(source == candidate))
            return
        reference: Floats = np.asarray(source, dtype=np.float64).reshape(len(source), -1)
        output: Floats = np.asarray(candidate, dtype=np.float64).reshape(len(candidate), -1)
        if self._first_mean is None:
            self._first_mean = reference.mean(axis=0)
        shifted = reference - self._first_mean
        self._shifted_sum = self._shifted_sum + shifted.sum(axis=0)
        self._errors.append(np.square(reference - output).sum(axis=1))
        self._deviations.append(np.square(shifted).sum(axis=1))
        self._energies.append(np.square(reference).sum(axis=1))

    def measured(self) -> MetricMeasured:
        """R squared of all rows so far."""
        empty = MetricMeasured(type="Fidelity", output=self._output)
        if not self._errors or not self._is_finite:
            return empty
        errors = np.concatenate(self._errors)
        lost = estimates.mean(errors) if self._is_exact else self._lost(errors)
        return empty.model_copy(
            update={
                "value": 1 - lost.value,
                "drop": lost.value,
                "standard_error": estimates.standard_error(None, lost.influence),
            }
        )

    def _lost(self, errors: Floats) -> estimates.Estimate:
        deviations, energies = np.concatenate(self._deviations), np.concatenate(self._energies)
        total = deviations.sum() - np.square(self._shifted_sum).sum() / len(errors)
        if total <= CONSTANT * energies.sum():
            return estimates.ratio(errors, energies) if energies.sum() else _all_or_nothing(errors)
        value = errors.sum() / total
        return estimates.Estimate(float(value), (errors - value * deviations) / (total / len(errors)))


def _all_or_nothing(errors: Floats) -> estimates.Estimate:
    """The source says zero everywhere: any other answer loses all of it."""
    return estimates.mean((errors > 0).astype(np.float64))
