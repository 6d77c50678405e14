"""What the sidecar counts. Plain integers on the way of a request, made into Prometheus metrics only when scraped.

Every request has exactly one outcome, so when none is under way hits + misses + coalesced + bypassed + refused is the
number of requests, which is counted by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from modelpress.sidecar.reason import Bypass, Refusal

FAST = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 0.1)
SLOW = (5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

WINDOW, WINDOW_PARTS = 300.0, 30
"""Seconds that the hit ratio is told of, and the steps in which they pass."""


class Distribution:
    """A histogram of seconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """Buckets as Prometheus wants them: (upper bound, observations up to it)."""
        so_far = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            yield bound, float(so_far)


class Protocol:
    """The outcomes of the requests of one protocol."""

    __slots__ = ("bypassed", "coalesced", "hits", "hits_below", "misses", "refused", "requests", "responses")

    def __init__(self) -> None:
        self.requests = 0
        """Counted as they come, on their own: those that are answered are the sum of all outcomes, or we are wrong."""
        self.hits = 0
        """From any tier."""
        self.hits_below: Counter[str] = Counter()
        """Those of the hits that came from a tier below memory, by its name."""
        self.misses = 0
        self.coalesced = 0
        self.bypassed: Counter[Bypass] = Counter()
        self.refused: Counter[Refusal] = Counter()
        self.responses: Counter[str] = Counter()
        """By gRPC or HTTP code, hits included; a client that has gone got none."""

    @property
    def outcomes(self) -> int:
        """The sum of all outcomes."""
        return self.hits + self.misses + self.coalesced + self.bypassed.total() + self.refused.total()

    @property
    def outcome(self) -> str:
        """hit, miss, coalesced, bypassed or refused, with the reason of the latter two. Of one request."""
        for name, reasons in (("refused", self.refused), ("bypassed", self.bypassed)):
            for reason in reasons:
                return f"{name} {reason}"
        return "coalesced" if self.coalesced else "miss" if self.misses else "hit" if self.hits else ""

    def add(self, other: Protocol) -> None:
        """Takes over what was counted apart, but for requests and responses."""
        self.hits += other.hits
        self.misses += other.misses
        self.coalesced += other.coalesced
        self.hits_below.update(other.hits_below)
        self.bypassed.update(other.bypassed)
        self.refused.update(other.refused)


class _Moment(NamedTuple):
    when: float
    hits: int
    requests: int


class Measures:
    """All counts of one sidecar."""

    def __init__(self) -> None:
        self.grpc = Protocol()
        self.rest = Protocol()
        self.key_seconds = Distribution(FAST)
        """Making a canonical key; level 1 is in the lookup."""
        self.lookup_seconds = Distribution(FAST)
        self.insert_seconds = Distribution(FAST)
        self.queue_seconds = Distribution(SLOW)
        self.upstream_seconds = Distribution(SLOW)
        self.active = 0
        """Requests being handled now, hits and queued ones included."""
        self.body_bytes = 0
        """Bytes of request bodies held now."""
        self._before = deque([_Moment(0.0, 0, 0)])
        self.last_request = 0.0
        """When the last request ended, on the loop's clock."""

    def protocols(self) -> tuple[tuple[str, Protocol], ...]:
        """By label value."""
        return (("grpc", self.grpc), ("rest", self.rest))

    def remember(self, now: float) -> None:
        """To be called every second or so; `now` is in seconds and never goes back."""
        if now - self._before[-1].when >= WINDOW / WINDOW_PARTS:
            self._before.append(self._now(now))
            while len(self._before) > 1 and now - self._before[1].when >= WINDOW:
                self._before.popleft()

    def hit_ratio(self) -> float:
        """hits / requests of the last five minutes; 0 where nothing was asked."""
        before, now = self._before[0], self._now(0)
        requests = now.requests - before.requests
        return (now.hits - before.hits) / requests if requests else 0.0

    def _now(self, when: float) -> _Moment:
        return _Moment(when, self.grpc.hits + self.rest.hits, self.grpc.requests + self.rest.requests)
