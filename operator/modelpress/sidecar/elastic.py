"""The elastic limit: how many requests should be in the model at once, judged by how long it takes to answer.

The gradient controller of Envoy's adaptive concurrency filter, which goes back to Netflix's concurrency-limits: the
latency of a window beside the latency without a queue (the baseline) gives a gradient, and

    limit' = limit x gradient + sqrt(limit x gradient),   gradient = (1 + TOLERANCE) x baseline / latency, in [0.5, 2]

so that the limit settles a small queue above the point where more concurrency only makes answers later. Both use the
median. As there, the baseline is measured again and again at a lower limit, else it would creep up with the latency.
Two things differ because a model has few places: the lower limit is half of the present one, not a fixed minimum, which
would cost most of the throughput; and the limit grows only where it was reached (as in RFC 7661 for TCP's window).
"""

from __future__ import annotations

import math
import statistics

TOLERANCE = 0.25
"""Latency above the baseline that is still taken for no queue."""
WINDOW_SECONDS = 0.1
WINDOW_SAMPLES = 10
PROBE_SAMPLES = 10
PROBE_PERIOD = 30.0
"""Seconds between two measurements of the baseline."""
PROBE_SECONDS = 2.0
"""A measurement that lasts longer makes do with FEWEST_SAMPLES."""
FEWEST_SAMPLES = 3
AT_FLOOR = 5
"""Windows in a row at the lowest limit, after which the baseline is doubted: the model itself may be slower now."""


class Elastic:
    """A limit between `least` and `most`. Times are in seconds on one clock, whichever; nothing here looks at it."""

    def __init__(self, *, least: int, most: int, now: float) -> None:
        self.least = min(least, most)
        self.most = most
        self.baseline: float | None = None
        """Median latency without a queue, None until it has been measured."""
        self._limit = float(self.least)
        self._samples: list[float] = []
        self._begun = now
        self._peak = 0
        self._at_floor = 0
        self._probing = True
        self._settled: float | None = None
        self._next_probe = now

    @property
    def limit(self) -> int:
        """Requests that may be in the model now."""
        return max(int(self._limit / 2), self.least) if self._probing else self.usual

    @property
    def usual(self) -> int:
        """The limit but for the moments in which the baseline is measured."""
        return int(self._limit)

    @property
    def probing(self) -> bool:
        """Whether the baseline is being measured."""
        return self._probing

    def bound(self, *, least: int, most: int) -> None:
        """Other bounds; what was learnt is kept."""
        self.least, self.most = min(least, most), most
        self._limit = self._clamped(self._limit)

    def observe(self, now: float, took: float, in_flight: int, *, failed: bool = False) -> None:
        """A request that ends now after `took` in the model; `in_flight` counts it and those beside it.

        A failure that came sooner than answers do says nothing of load, one that took as long (a timeout) does.
        """
        if failed and (self.baseline is None or took < self.baseline):
            return
        self._peak = max(self._peak, in_flight)
        if self._probing:
            self._probe(now, took, in_flight)
            return
        self._samples.append(took)
        if now - self._begun >= WINDOW_SECONDS and len(self._samples) >= WINDOW_SAMPLES:
            self._adjust()
            self._begin(now)
            doubted = self._at_floor >= AT_FLOOR
            if doubted or now >= self._next_probe:
                self._probing, self._at_floor = True, 0
                self._settled = now if in_flight - 1 <= self.limit else None

    def _probe(self, now: float, took: float, in_flight: int) -> None:
        """Only requests count that had no more beside them than the lower limit allows, from beginning to end."""
        if self._settled is None:
            self._settled = now if in_flight - 1 <= self.limit else None
            return
        if now - took < self._settled:
            return
        self._samples.append(took)
        count = len(self._samples)
        if count >= PROBE_SAMPLES or (now - self._begun >= PROBE_SECONDS and count >= FEWEST_SAMPLES):
            self.baseline = statistics.median(self._samples)
            self._probing = False
            self._next_probe = now + PROBE_PERIOD
            self._begin(now)

    def _adjust(self) -> None:
        latency = statistics.median(self._samples)
        if self.baseline is None or latency <= 0:
            return
        if latency * (1 + TOLERANCE) < self.baseline:
            self.baseline = latency  # the model has become faster
        gradient = min(max((1 + TOLERANCE) * self.baseline / latency, 0.5), 2.0)
        wanted = self._limit * gradient
        wanted = self._clamped(wanted + math.sqrt(wanted))
        if wanted < self._limit or self._peak >= self.limit:
            self._limit = wanted
        self._at_floor = self._at_floor + 1 if self._limit <= self.least < self.most else 0

    def _begin(self, now: float) -> None:
        self._begun, self._samples, self._peak = now, [], 0

    def _clamped(self, limit: float) -> float:
        return min(max(limit, float(self.least)), float(self.most))
