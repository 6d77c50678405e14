"""How long the model takes to answer, from what it took lately."""

from __future__ import annotations

SMOOTHING = 0.1
BLOCK = 64


class ServiceTime:
    """An exponential mean, and the shortest of the last BLOCK to 2 x BLOCK answers; both 0 until one is known."""

    __slots__ = ("_before", "_count", "_now", "mean")

    def __init__(self) -> None:
        self.mean = 0.0
        self._now = self._before = float("inf")
        self._count = 0

    def observe(self, seconds: float) -> None:
        """One more answer."""
        self.mean = self.mean + SMOOTHING * (seconds - self.mean) if self.mean else seconds
        if self._count == BLOCK:
            self._before, self._now, self._count = self._now, float("inf"), 0
        self._count += 1
        if seconds < self._now:
            self._now = seconds

    @property
    def shortest(self) -> float:
        """Seconds that no answer of late has undercut."""
        least = min(self._now, self._before)
        return 0.0 if least == float("inf") else least
