"""The counts of a rollout as Prometheus metrics; those of the two sides appear with the first request that is split."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from modelpress.sidecar.rollout.route import Rollout
from modelpress.sidecar.rollout.side import is_error

PREFIX = "modelpress_sidecar_rollout_"


def rollout_families(rollout: Rollout) -> Iterator[Metric]:
    """All metrics; they count since the start of the process."""
    yield GaugeMetricFamily(PREFIX + "weight", "Percent of the requests that go to the candidate.", rollout.weight)
    requests = CounterMetricFamily(
        PREFIX + "requests", "Requests of a rollout by side and code.", labels=["side", "code"]
    )
    errors = CounterMetricFamily(PREFIX + "errors", "Those that ended by the server's fault.", labels=["side"])
    seconds = HistogramMetricFamily(PREFIX + "seconds", "From the request to its answer.", labels=["side"])
    for name, side in rollout.total.items():
        for code, count in side.codes.items():
            requests.add_metric([name, code], count)
        errors.add_metric([name], sum(count for code, count in side.codes.items() if is_error(code)))
        seconds.add_metric([name], list(side.seconds.cumulative()), side.seconds.total)
    shadows = CounterMetricFamily(
        "modelpress_sidecar_shadow_requests", "Copies for the candidate by what became of them.", labels=["outcome"]
    )
    for outcome, count in rollout.shadowed.items():
        shadows.add_metric([outcome], count)
    fallbacks = CounterMetricFamily(
        PREFIX + "fallbacks",
        "Requests answered by the current model, as the candidate was unavailable.",
        rollout.fallbacks,
    )
    yield from (requests, errors, seconds, shadows, fallbacks)
