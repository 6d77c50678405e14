"""What a few rows tell of a candidate for certain, so that no server needs to be started for it. Pure.

A limit that does not hold on them may hold on all. What is certain is what would not hold either if the candidate were
better than it looks by two standard errors.
"""

from __future__ import annotations

from modelpress.api import gate as limits
from modelpress.api.measurement import Measurements, MetricMeasured
from modelpress.compress.evaluation import metrics
from modelpress.status import gate
from modelpress.status.gate import Finding

ON_ALL_ROWS = frozenset({"DropTooLarge", "NotFinite", "BelowMinimum", "AboveMaximum", "TooLarge"})
"""Findings that no server would change, where they are told by all rows."""
ERRORS = 2
"""Standard errors."""


def lost(known: Measurements, wanted: limits.Gate, *, rows: int, samples: int) -> list[Finding]:
    """The findings that all `samples` would bring as well, where `known` is told by `rows` of them."""
    found = gate.judge(known, wanted, samples=rows).findings
    if rows >= samples:
        return [one for one in found if one.reason in ON_ALL_ROWS]
    pairs = gate.paired(known.metrics, wanted.metrics)
    certain = [_lost(measured, limit, rows) for limit, measured in pairs if measured is not None]
    return [one for one in certain if one is not None] + [one for one in found if one.reason == "TooLarge"]


def _lost(measured: MetricMeasured, limit: limits.Metric, rows: int) -> Finding | None:
    told = _telling(measured, limit)
    if told is None or (measured.source is None and metrics.is_labelled(limit)):
        return None  # rows of one class have no AUC, for the source neither
    at_best = _at_best(measured)
    if at_best is None or _judged(at_best, told, rows) is None:
        return None
    return _judged(measured, told, rows)


def _telling(measured: MetricMeasured, limit: limits.Metric) -> limits.Metric | None:
    """The limit without a minimum or maximum that the source does not keep on these rows; None where nothing is left.

    Such rows are harder than others, or lack a class.
    """
    source = gate.source_of(measured)
    unkept: dict[str, None] = {}
    if limit.min is not None and (source is None or source < limit.min):
        unkept["min"] = None
    if limit.max is not None and (source is None or source > limit.max):
        unkept["max"] = None
    left = limit.model_copy(update=unkept)
    if unkept and (left.min, left.max, left.max_drop, left.max_drop_ratio) == (None,) * 4:
        return None  # without any, the gate would take a drop of its own
    return left


def _at_best(measured: MetricMeasured) -> MetricMeasured | None:
    """The metric, better by two standard errors, and without any error; None where the error is not known."""
    if measured.value is None:
        return measured
    if measured.standard_error is None or measured.drop is None:
        return None
    error = ERRORS * measured.standard_error
    better = -error if measured.type in gate.ERROR_METRICS else error
    return measured.model_copy(
        update={"value": measured.value + better, "drop": measured.drop - error, "standard_error": 0.0}
    )


def _judged(measured: MetricMeasured, limit: limits.Metric, rows: int) -> Finding | None:
    found = gate.judge(Measurements(metrics=(measured,)), limits.Gate(metrics=(limit,)), samples=rows).findings
    return next((one for one in found if one.reason in ON_ALL_ROWS), None)
