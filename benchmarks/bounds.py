"""What the benchmarks of compression promise and a row did not keep, a sentence each. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from modelpress.api.measurement import LatencyMeasured

LATE_SECONDS = 30.0
"""A search ends within its time; before it the source is read, and after it what was found is written."""
OFF, PARAMETERS = 1e-5, 0.7
"""What removing filters may move the answers by, of the largest output, and may leave of the parameters."""
FORMS = ("savedmodel", "tflite")


class Required(NamedTuple):
    """At most so much of the float32 SavedModel, found by a search without a recipe."""

    size: float
    latency: float
    """Net."""


class Span(NamedTuple):
    """A ratio of latencies, with its interval."""

    ratio: float
    low: float
    high: float
    is_net: bool

    @property
    def inverse(self) -> Span:
        """The other one's latency in this one's."""
        return Span(_inverse(self.ratio), _inverse(self.high), _inverse(self.low), self.is_net)

    def __str__(self) -> str:
        kind = "net" if self.is_net else "gross"
        return f"{self.ratio:.3f} ({self.low:.3f}-{self.high:.3f}) of its {kind} latency"


def _inverse(ratio: float) -> float:
    """Of what took no time beside the server, the other took endlessly more."""
    return 1 / ratio if ratio else math.inf


def span(timed: LatencyMeasured) -> Span | None:
    """Net, or gross where noise left nothing of net; None where no interval is known."""
    if timed.net and timed.net_ratio_low is not None and timed.net_ratio_high is not None:
        return Span(timed.net.ratio, timed.net_ratio_low, timed.net_ratio_high, True)
    if timed.p50 and timed.ratio_low is not None and timed.ratio_high is not None:
        return Span(timed.p50.ratio, timed.ratio_low, timed.ratio_high, False)
    return None


def slower(beside: Mapping[str, Span]) -> Iterator[str]:
    """The naive ways that a search is slower than, beyond the interval; `beside`: way -> search / way."""
    for way, one in beside.items():
        if one.low > 1:
            yield f"slower than {way}: {one}"


def spent(own: float | None, trials: Sequence[float], *, is_resumed: bool) -> float | None:
    """Seconds of a search in all its runs; `own`: those of this run, None where it found all of it finished.

    Of earlier runs the seconds of the trials tell. None where there are none: of named steps that were found finished.
    """
    if own is None:
        return sum(trials) if trials else None
    return max(own, sum(trials)) if is_resumed else own


def late(seconds: float, allowed: float) -> Iterator[str]:
    """Whether a search took longer than its time."""
    if seconds > allowed + LATE_SECONDS:
        yield f"took {seconds:.0f} s, {allowed:.0f} s is its time"


def beyond(size: float | None, latency: float | None, required: Required) -> Iterator[str]:
    """Required bounds that do not hold; what was not measured holds none."""
    if size is None or size > required.size:
        yield f"size {'-' if size is None else f'{size:.3f}'}, {required.size:g} is required"
    if latency is None or latency > required.latency:
        yield f"net latency {'-' if latency is None else f'{latency:.3f}'}, {required.latency:g} is required"


def filters(figures: Mapping[str, float]) -> Iterator[str]:
    """What `filters.measured` told of a network that falls short."""
    if not figures["off"] <= OFF:
        yield f"off by {figures['off']:.2g} of the largest output, {OFF:g} is allowed"
    if not figures["parameters"] <= PARAMETERS:
        yield f"{figures['parameters']:.3g} of the parameters are left, {PARAMETERS:g} are allowed"
    highs = [figures[f"{form}_high"] for form in FORMS if f"{form}_high" in figures]
    if not any(high < 1 for high in highs):
        known = ", ".join(f"{high:.3g}" for high in highs) or "not measurable"
        yield f"net latency is lower in no form: the upper ends of the ranges are {known}"
