"""`mode: Auto`: whether caching pays, by what it costs and what it saves, both in seconds of work.

Cost: hashing, looking up (in every tier) and inserting. Saving: requests answered without the model x the model's mean
time. The model's time is taken from a place in the model to its answer, so that waiting in line counts for nothing.
"""

from __future__ import annotations

from typing import NamedTuple

LEAST_REQUESTS = 500
LEAST_SECONDS = 15.0
"""A window is judged when it has so many requests and is so old: a cold cache needs both to warm up."""
SHORTEST_REST, LONGEST_REST = 60.0, 900.0
"""Seconds without the cache before it is tried again; doubled each time in vain, and with it the next window.

Long windows find requests that repeat after minutes; the share of time spent on trying stays one fifth.
"""


class Totals(NamedTuple):
    """Counted since the start; times in seconds."""

    requests: int
    """Those that the cache could have answered."""
    saved: int
    """Those that it did answer, or another request in the model at that time."""
    cost: float
    calls: int
    upstream: float

    def since(self, start: Totals) -> Totals:
        """The difference."""
        return Totals(
            self.requests - start.requests,
            self.saved - start.saved,
            self.cost - start.cost,
            self.calls - start.calls,
            self.upstream - start.upstream,
        )


NOTHING = Totals(0, 0, 0.0, 0, 0.0)


class Verdict(NamedTuple):
    """What a window said; times in seconds per request."""

    pays: bool
    hit_ratio: float
    cost: float
    saving: float

    def __str__(self) -> str:
        return (
            f"a hit ratio of {self.hit_ratio:.1%} saves {self.saving * 1e6:.1f} us a request"
            f" and costs {self.cost * 1e6:.1f} us"
        )


class Effectiveness:
    """Looked at every second or so. `now` is in seconds and never goes back."""

    def __init__(self, *, now: float) -> None:
        self._start = NOTHING
        self._began = now
        self._rest = SHORTEST_REST
        self._until: float | None = None
        self._upstream = 0.0
        self.verdict: Verdict | None = None
        """Of the last window; None before the first."""
        self.switches = 0
        """Times that the cache was switched off."""

    @property
    def resting(self) -> bool:
        """Whether requests should go past the cache."""
        return self._until is not None

    def rests_for(self, now: float) -> float:
        """Seconds until the cache is tried again, 0 while it is used."""
        return 0.0 if self._until is None else max(self._until - now, 0.0)

    def look(self, totals: Totals, now: float) -> bool:
        """Judges, ends a rest, or waits for more; whether `resting` or the verdict has changed."""
        if self._until is not None:
            if now < self._until:
                return False
            self._begin(totals, now)
            return True
        window = totals.since(self._start)
        if window.requests < LEAST_REQUESTS or now - self._began < LEAST_SECONDS * self._rest / SHORTEST_REST:
            return False
        self._judge(window)
        self._begin(totals, now)
        if self.verdict is not None and not self.verdict.pays:
            self._until = now + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)
            self.switches += 1
        else:
            self._rest = SHORTEST_REST
        return True

    def reset(self, totals: Totals, now: float) -> None:
        """Forgets: mode, bounds or the model have changed."""
        self._begin(totals, now)
        self._rest = SHORTEST_REST
        self.verdict = None

    def _judge(self, window: Totals) -> None:
        if window.calls:
            self._upstream = window.upstream / window.calls  # else as before: everything was answered from the cache
        cost, ratio = window.cost / window.requests, window.saved / window.requests
        saving = ratio * self._upstream
        self.verdict = Verdict(saving >= cost, ratio, cost, saving)

    def _begin(self, totals: Totals, now: float) -> None:
        self._start, self._began, self._until = totals, now, None
