"""How far the answers of a candidate are from those that clients got."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, NamedTuple

import numpy as np

from modelpress.sidecar.rollout.outputs import Array, Outputs

BOUNDS = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
"""Upper bounds of the histogram of distances."""
CONSTANT = 1e-10
"""Outputs whose variance is below this share of their energy count as constant, as in the gate's Fidelity."""


class Tolerance(NamedTuple):
    """Floats are equal where |candidate - live| <= absolute + relative x |live|."""

    relative: float
    absolute: float


class Difference(NamedTuple):
    """Of one output in one pair of answers."""

    distance: float
    """Floats: the largest difference / the largest live value (or 1, if that is larger than all); infinite where one
    has a NaN or infinity that the other has not. Others: the share of unequal elements."""
    equal: bool
    """Every element within tolerance; integers, booleans and strings exactly."""


def difference(live: Array, candidate: Array, tolerance: Tolerance) -> Difference | None:
    """None where the two have another dtype or shape. NaN equals NaN, and an infinity one of the same sign."""
    if live.dtype != candidate.dtype or live.shape != candidate.shape:
        return None
    if live.dtype.kind not in "fc":
        unequal = np.count_nonzero(np.asarray(live != candidate))
        return Difference(unequal / max(live.size, 1), not unequal)
    if not live.size:
        return Difference(0.0, True)
    wide = np.complex128 if live.dtype.kind == "c" else np.float64
    left, right = live.astype(wide), candidate.astype(wide)
    finite = np.isfinite(left)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True) or not np.isfinite(right[finite]).all():
        return Difference(float("inf"), False)
    size, error = np.abs(left[finite]), np.abs(right[finite] - left[finite])
    if not size.size:
        return Difference(0.0, True)
    within = bool((error <= tolerance.absolute + tolerance.relative * size).all())
    return Difference(float(error.max() / (size.max() or 1.0)), within)


class Variance:
    """Squared error beside the variance of the live values over rows, added up without keeping them.

    Their ratio is what `gate.metrics` calls the drop of Fidelity (1 - R squared, cells pooled). The variance is
    updated by pairs of means (Chan, Golub and LeVeque, 1979).
    """

    def __init__(self) -> None:
        self.error = 0.0
        self._rows = 0
        self._mean: Array | None = None
        self._deviation = 0.0
        self._energy = 0.0

    def update(self, live: Array, candidate: Array) -> None:
        """Finite real floats of one shape; rows of another shape than the first are pooled cell by cell."""
        reference = np.asarray(live, dtype=np.float64)
        rows = reference.reshape(len(reference), -1) if reference.ndim else reference.reshape(1, 1)
        if self._mean is not None and self._mean.shape != rows.shape[1:]:
            return
        self.error += float(np.square(reference - np.asarray(candidate, dtype=np.float64)).sum())
        self._energy += float(np.square(rows).sum())
        count, mean = len(rows), rows.mean(axis=0)
        self._deviation += float(np.square(rows - mean).sum())
        if self._mean is None:
            self._mean, self._rows = mean, count
            return
        shift, together = mean - self._mean, self._rows + count
        self._deviation += float(np.square(shift).sum()) * self._rows * count / together
        self._mean = self._mean + shift * (count / together)
        self._rows = together

    @property
    def scale(self) -> float:
        """The squared deviation of the live values, or their energy where they do not vary."""
        return self._deviation if self._deviation > CONSTANT * self._energy else self._energy


class OutputRecord:
    """All comparisons of one output."""

    def __init__(self) -> None:
        self.compared = 0
        self.diverged = 0
        """Beyond the tolerance."""
        self.structure = 0
        """Missing on one side, or with another dtype or shape."""
        self.not_finite = 0
        """With a NaN or infinity on one side only."""
        self.total = 0.0
        self.largest = 0.0
        self.counts = [0] * (len(BOUNDS) + 1)
        self.variance = Variance()

    def update(self, live: Array | None, candidate: Array | None, tolerance: Tolerance) -> bool:
        """One more pair; whether they are equal."""
        self.compared += 1
        found = None if live is None or candidate is None else difference(live, candidate, tolerance)
        if found is None or live is None or candidate is None:
            self.structure += 1
            self.diverged += 1
            return False
        self.diverged += not found.equal
        self.counts[bisect_left(BOUNDS, found.distance)] += 1
        if found.distance == float("inf"):
            self.not_finite += 1
            return False
        self.total += found.distance
        self.largest = max(self.largest, found.distance)
        if live.dtype.kind == "f" and live.size and np.isfinite(live).all():
            self.variance.update(live, candidate)
        return found.equal

    def state(self) -> dict[str, Any]:
        """As `/state` shows it; `squaredError` and `scale` add up over pods, their ratio is 1 - Fidelity."""
        measured = self.compared - self.structure - self.not_finite
        error, scale = self.variance.error, self.variance.scale
        return {
            "compared": self.compared,
            "diverged": self.diverged,
            "structure": self.structure,
            "notFinite": self.not_finite,
            "mean": _rounded(self.total / measured) if measured else None,
            "max": _rounded(self.largest) if measured else None,
            "squaredError": _rounded(error),
            "scale": _rounded(scale),
            "fidelityDrop": _rounded(error / scale) if scale else None,
            "histogram": dict(zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True)),
        }


class Comparison:
    """All comparisons of a shadow, by output."""

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance = tolerance
        self.outputs: dict[str, OutputRecord] = {}

    def update(self, live: Outputs, candidate: Outputs) -> bool:
        """One more pair of answers; whether all outputs are equal."""
        equal = True
        for name in sorted(live.keys() | candidate.keys()):
            record = self.outputs.setdefault(name, OutputRecord())
            equal &= record.update(live.get(name), candidate.get(name), self._tolerance)
        return equal


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
