"""Quantiles of latencies, exact to one percent of their value and additive over pods.

DDSketch (Masson, Rim and Lee, VLDB 2019): bin i counts the values in (gamma^(i-1), gamma^i], gamma = (1+a)/(1-a).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

ACCURACY = 0.01
SMALLEST = 1e-6
"""Seconds; what is shorter counts as this."""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_PER_LOG = 1 / math.log(_GAMMA)


class Sketch:
    """A histogram of seconds in bins of equal ratio."""

    __slots__ = ("bins", "count")

    def __init__(self) -> None:
        self.bins: Counter[int] = Counter()
        self.count = 0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.bins[math.ceil(math.log(max(seconds, SMALLEST)) * _PER_LOG)] += 1
        self.count += 1

    def quantile(self, share: float) -> float | None:
        """Seconds that `share` (0 to 1) of the values do not exceed; None where there are none."""
        wanted, seen = share * (self.count - 1), 0
        for index in sorted(self.bins):
            seen += self.bins[index]
            if seen > wanted:
                return 2 * _GAMMA**index / (_GAMMA + 1)
        return None

    def state(self) -> dict[str, Any]:
        """As `/state` shows it: percentiles for people, and the bins, which add up over pods."""
        found = {f"p{round(share * 100)}": self.quantile(share) for share in (0.5, 0.9, 0.95, 0.99)}
        rounded = {name: None if value is None else float(f"{value:.4g}") for name, value in found.items()}
        return {**rounded, "accuracy": ACCURACY, "bins": {str(index): self.bins[index] for index in sorted(self.bins)}}
