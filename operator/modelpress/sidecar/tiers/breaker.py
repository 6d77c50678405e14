"""A circuit breaker: what fails again and again is left alone for a while, longer each time it still fails."""

from __future__ import annotations

FAILURES = 5
"""In a row, unless said otherwise."""
SHORTEST, LONGEST = 1.0, 30.0
"""Seconds until the first probe, and at most between two."""


class Breaker:
    """Closed while all is well. Times are the caller's, in seconds; probes are the caller's too.

    It opens after so many `failures` in a row.
    """

    def __init__(self, failures: int = FAILURES) -> None:
        self._failures = failures
        self._in_a_row = 0
        self._pause = SHORTEST
        self._probe_at: float | None = None
        self.opened = 0
        """Times that it has opened."""

    @property
    def is_open(self) -> bool:
        """Whether nothing should be asked."""
        return self._probe_at is not None

    def is_probe_due(self, now: float) -> bool:
        """Whether somebody who does not mind waiting should look again; each answer True starts another pause."""
        if self._probe_at is None or now < self._probe_at:
            return False
        self._probe_at = now + self._pause
        return True

    def succeed(self) -> None:
        """It works."""
        self._in_a_row, self._pause, self._probe_at = 0, SHORTEST, None

    def fail(self, now: float) -> None:
        """It does not. Failures of what was asked before it opened make no pause longer."""
        self._in_a_row += 1
        if self._probe_at is None and self._in_a_row >= self._failures:
            self.opened += 1
            self._probe_at = now + self._pause

    def fail_probe(self, now: float) -> None:
        """It still does not."""
        self._pause = min(self._pause * 2, LONGEST)
        self._probe_at = now + self._pause
