"""What calibration rows may show for a candidate that should pass the gate: its limits as losses of outputs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelpress.api import gate
from modelpress.compress.evaluation.baseline import Baseline
from modelpress.compress.quantization.comparison import Loss
from modelpress.status.gate import AGAINST_SOURCE, DEFAULT_MAX_DROP, ERROR_METRICS

_BESIDE_ANSWERS = 0.05
"""Share of the variance that may go where no limit is set on it itself; beyond, agreement on few rows is luck."""
_OF_OUTPUTS = frozenset({"Fidelity", "CosineSimilarity"})
"""Metrics whose drop is a share of the outputs' variance, or bounds it: where a share v goes, a cosine drops by v/2."""


def needs_baseline(limits: gate.Gate) -> bool:
    """Whether limits mean something only beside the value of the source."""
    return any(one.type not in AGAINST_SOURCE and not _is_plain(one) for one in limits.metrics)


def of_gate(limits: gate.Gate, baselines: Sequence[Baseline | None] = ()) -> Loss:
    """The tightest of all limits; `baselines`, one a metric, are the source's where they are known.

    A metric that counts right answers cannot drop by more than the share of answers that change. Limits beside an
    unknown value of the source count as the usual drop of 0.01.
    """
    variance = answers = math.inf
    for place, metric in enumerate(limits.metrics):
        known = baselines[place] if place < len(baselines) else None
        if metric.type in ERROR_METRICS:
            variance = min(variance, _of_error(metric, known), _BESIDE_ANSWERS)
            continue
        source = 1.0 if metric.type in AGAINST_SOURCE else known.value if known else None
        drop = allowed_drop(metric, source)
        if metric.type in _OF_OUTPUTS:
            variance = min(variance, drop)
        else:
            answers = min(answers, drop)
    return Loss(_BESIDE_ANSWERS if math.isinf(variance) else variance, answers)


def allowed_drop(metric: gate.Metric, source: float | None) -> float:
    """By how much a candidate may be worse than the source, in the metric's unit.

    `source` was measured on few rows: a `min` or `max` that it fails on these by itself says nothing.
    """
    limits = [] if metric.max_drop is None else [metric.max_drop]
    if source is not None:
        limits += [] if metric.max_drop_ratio is None else [metric.max_drop_ratio * abs(source)]
        limits += [] if metric.min is None or metric.min >= source else [source - metric.min]
        limits += [] if metric.max is None or metric.max <= source else [metric.max - source]
    if limits:
        return min(limits)
    return DEFAULT_MAX_DROP * (abs(source) if metric.type in ERROR_METRICS and source is not None else 1.0)


def _of_error(metric: gate.Metric, known: Baseline | None) -> float:
    """Share of the outputs' variance that may go for a mean absolute error.

    Errors of the source and of rounding, both taken for normal and independent, add in squares, and a mean absolute
    error is sqrt(2/pi) of a standard deviation: m may rise by d where rounding's variance is pi/2 ((m + d)^2 - m^2).
    """
    if known is None or not known.variance > 0:
        return DEFAULT_MAX_DROP
    risen = known.value + allowed_drop(metric, known.value)
    return math.pi / 2 * (risen**2 - known.value**2) / known.variance


def _is_plain(metric: gate.Metric) -> bool:
    """Whether the limit is a drop in the metric's unit, which for shares of answers says all."""
    relative = (metric.max_drop_ratio, metric.min, metric.max)
    return metric.type not in ERROR_METRICS and all(one is None for one in relative)
