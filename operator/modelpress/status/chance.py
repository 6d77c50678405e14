"""Whether a source is any better than chance: where it is not, its labels are hardly its own. Pure.

Compressing such a model loses nothing, so that every gate passes, and nobody hears that nothing was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelpress.api.measurement import MetricMeasured
from modelpress.status import wording

ERRORS = 2
"""Standard errors by which a source has to be better."""
SKILL = 0.5
"""Share of the way from chance to perfection (a skill score; Murphy 1988) from which on nobody doubts, however few
rows were measured."""
PERFECT = 1.0
"""Best value of the metrics where more is better."""
_CURE = (
    "look whether the labels are those of these rows (another column, numbers that begin at 1, another order of "
    "classes: spec.data.evaluation.columns.targets)"
)


def warnings(metrics: Iterable[MetricMeasured]) -> Iterator[str]:
    """For each metric in which the source is no better than chance, a sentence with the cure."""
    for metric in metrics:
        if is_at_chance(metric):
            yield _warning(metric)


def is_at_chance(metric: MetricMeasured) -> bool:
    """Whether the source is not better than one answer to all rows, as far as these rows can tell; an F1 of 0 is not.

    False where this was not measured: without labels, or by an earlier version.
    """
    if metric.source is None:
        return False
    if metric.type == "F1" and metric.source == 0:
        return True
    if metric.chance is None or metric.chance_error is None:
        return False
    is_error = metric.type == "MeanAbsoluteError"
    gain = metric.chance - metric.source if is_error else metric.source - metric.chance
    possible = metric.chance if is_error else PERFECT - metric.chance
    return gain <= ERRORS * metric.chance_error and gain < SKILL * possible


def _warning(metric: MetricMeasured) -> str:
    name = f"{metric.type} of {metric.output}" if metric.output else metric.type
    told = f"{name} of the uncompressed model is {wording.short(metric.source)}"
    if metric.type == "F1" and metric.source == 0:
        return f"{told}, so that no candidate can lose any; lower threshold, or {_CURE}"
    error = f" ± {ERRORS * (metric.chance_error or 0):.2g}"
    cures = [_CURE, *(["where one class is rare, choose F1 or AUC"] if metric.type in ("Accuracy", "TopK") else [])]
    return (
        f"{told}, no better than {_constant(metric.type)} would be ({wording.short(metric.chance)}{error}), so that "
        f"the gate tells little; {', or, '.join(cures)}"
    )


def _constant(kind: str) -> str:
    return {
        "AUC": "equal scores for all rows",
        "F1": "the same decision for all rows",
        "MeanAbsoluteError": "the median of the labels for all rows",
    }.get(kind, "the most frequent classes for all rows" if kind == "TopK" else "the most frequent class for all rows")
