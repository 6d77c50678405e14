"""The gate: may this candidate serve? One pure function over measurements and limits, for operator and CLI alike.

Drop is absolute and + is worse, whatever the direction of the metric. What was not measured, or is not a number, never
passes. Every finding is kept; the first one is the verdict's reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from modelpress.api import duration, gate, quantity
from modelpress.api.measurement import Compared, Evidence, LatencyMeasured, Measurements, MetricMeasured
from modelpress.status import chance, wording
from modelpress.status import evidence as proof
from modelpress.status.stand_in import StandIn

DEFAULT_MAX_DROP = 0.01
ERROR_METRICS = frozenset({"MeanAbsoluteError"})
"""Metrics where less is better; their unit is the user's, so without limits the drop is judged as a share."""
AGAINST_SOURCE = frozenset({"Agreement", "CosineSimilarity", "Fidelity"})
"""Metrics that compare with the source, whose own value is 1."""
PASSED = "Passed"
SHARES = frozenset({"Accuracy", "TopK", "Agreement"})
"""Metrics that are a share of rows, of which the rule of three tells something where no row differs."""
_RULE_OF_THREE = 3
"""Where none of n rows shows it, up to 3 / n of all may do it, at 95 % (Hanley and Lippman-Hand 1983)."""
_TOLERANCE = 1e-9
"""Relative room for binary fractions: a drop of 0.77 - 0.76 is 0.010000000000000009."""


class Finding(NamedTuple):
    """One limit that does not hold."""

    reason: str
    """CamelCase."""
    message: str
    """What was found, then what is allowed."""
    excess: float = math.inf
    """By how much the limit is exceeded, as a share of it; inf where that is not known."""


class Verdict(NamedTuple):
    """`reason` is `Passed`, or that of the first finding; `message` joins all of them."""

    passed: bool
    reason: str
    message: str
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    """What makes the verdict worth little."""


def judge(
    measurements: Measurements,
    limits: gate.Gate,
    *,
    samples: int,
    evidence: Evidence | None = None,
    stand_in: StandIn | None = None,
) -> Verdict:
    """Hold measurements against limits.

    `samples` is the number of rows that the metrics were measured on, `evidence` what kind of rows where that is known;
    `stand_in` measured in place of the server that will serve: None where that one did.
    """
    if measurements.failure:
        finding = Finding(measurements.failure, measurements.failure_message or "The candidate could not be measured")
        return Verdict(False, finding.reason, finding.message, (finding,))
    findings = (
        *_metric_findings(measurements.metrics, limits.metrics, samples),
        *_size_findings(measurements.size_bytes, limits.size),
        *_latency_findings(measurements.latency_milliseconds, limits.latency, stand_in),
        *_memory_findings(measurements.memory_bytes, limits.memory, stand_in),
    )
    warnings = (
        *proof.warnings(evidence, samples),
        *chance.warnings(measurements.metrics),
        *_few_rows_warnings(measurements.metrics, limits.metrics, samples),
        *(stand_in.warnings(measurements, limits) if stand_in else ()),
    )
    if findings:
        return Verdict(False, findings[0].reason, "; ".join(found.message for found in findings), findings, warnings)
    return Verdict(True, PASSED, _summary(measurements), warnings=warnings)


def is_undecided(measured: LatencyMeasured, limit: gate.LatencyLimit) -> bool:
    """Whether the limit of the ratio lies within the interval, so that more requests may turn the verdict."""
    low, high = measured.ratio_low, measured.ratio_high
    return limit.max_ratio is not None and low is not None and high is not None and low <= limit.max_ratio <= high


def _metric_findings(
    measured: Sequence[MetricMeasured], limits: Sequence[gate.Metric], samples: int
) -> Iterator[Finding]:
    for limit, found in paired(measured, limits):
        if found is None:
            yield Finding("NotMeasured", f"{_name(limit)} was not measured")
        elif (finding := _metric_finding(found, limit, samples)) is not None:
            yield finding


def _few_rows_warnings(
    measured: Sequence[MetricMeasured], limits: Sequence[gate.Metric], samples: int
) -> Iterator[str]:
    """Where no row differs, the standard error is 0 however few they are, and nearly every limit would hold."""
    for limit, found in paired(measured, limits):
        if found is None or found.type not in SHARES or found.standard_error or _metric_finding(found, limit, samples):
            continue
        most, said = min(_allowed_drops(found, limit), default=(0.0, ""))
        if samples > 0 and 0 < most < _RULE_OF_THREE / samples:
            yield (
                f"{samples} {'row tells' if samples == 1 else 'rows tell'} little of {_name(found)}: where none of "
                f"them shows it, it may still drop by {_RULE_OF_THREE / samples:.2g} (rule of three), {said} is "
                f"allowed; {math.ceil(_RULE_OF_THREE / most)} rows would do"
            )


def paired(
    measured: Sequence[MetricMeasured], limits: Sequence[gate.Metric]
) -> Iterator[tuple[gate.Metric, MetricMeasured | None]]:
    """Each limit with what was measured of it; of two of one type the first goes with the first."""
    left = list(measured)
    for limit in limits:
        found = next((one for one in left if _is_of(one, limit)), None)
        if found is not None:
            left.remove(found)
        yield limit, found


def _is_of(measured: MetricMeasured, limit: gate.Metric) -> bool:
    return measured.type == limit.type and (limit.output is None or measured.output == limit.output)


def _name(metric: gate.Metric | MetricMeasured) -> str:
    return f"{metric.type} of {metric.output}" if metric.output else metric.type


def _moves(metric: MetricMeasured, drop: float) -> str:
    """`Accuracy drops` or `rises`; of an error, the worse is the larger one."""
    return f"{_name(metric)} {'rises' if (drop < 0) != (metric.type in ERROR_METRICS) else 'drops'}"


def _metric_finding(measured: MetricMeasured, limit: gate.Metric, samples: int) -> Finding | None:
    if not _is_finite(measured.value):
        return Finding("NotFinite", f"{_name(measured)} of the candidate is not a number")
    value = _number(measured.value)
    if limit.min is not None and _exceeds(limit.min, value):
        said = f"{_name(measured)} is {wording.beside(value, limit.min)}, at least {limit.min:g} is needed"
        return Finding("BelowMinimum", said, _share(limit.min - value, limit.min))
    if limit.max is not None and _exceeds(value, limit.max):
        said = f"{_name(measured)} is {wording.beside(value, limit.max)}, {limit.max:g} is allowed"
        return Finding("AboveMaximum", said, _share(value - limit.max, limit.max))
    allowed = _allowed_drops(measured, limit)
    if not allowed:
        return None
    if not _is_finite(measured.drop) and not _is_finite(source_of(measured)):
        return Finding("NotFinite", f"{_name(measured)} of the source is not a number, so no drop can be judged")
    findings = (_drop_finding(measured, most, said, samples) for most, said in allowed)
    return next((found for found in findings if found is not None), None)


def _allowed_drops(measured: MetricMeasured, limit: gate.Metric) -> list[tuple[float, str]]:
    """(Greatest drop in the metric's unit, how to say it), for each of maxDrop and maxDropRatio that is set."""
    drop, ratio = limit.max_drop, limit.max_drop_ratio
    if drop is None and ratio is None and limit.min is None and limit.max is None:
        drop, ratio = (None, DEFAULT_MAX_DROP) if limit.type in ERROR_METRICS else (DEFAULT_MAX_DROP, None)
    source = source_of(measured)
    allowed = [] if drop is None else [(float(drop), f"{drop:g}")]
    if ratio is not None:
        of_source = abs(source) * ratio if source is not None else math.nan
        allowed.append((of_source, f"{of_source:.4g} ({ratio:g} of the source's {wording.short(source)})"))
    return allowed


def _drop_finding(measured: MetricMeasured, most: float, said: str, samples: int) -> Finding | None:
    drop, error = _drop(measured), 2 * (measured.standard_error or 0.0)
    if not (math.isfinite(drop) and math.isfinite(most) and math.isfinite(error)):
        return Finding("NotFinite", f"The drop of {_name(measured)} is not a number")
    if _exceeds(drop - error, most) or (_exceeds(drop, most) and not _exceeds(error, most)):
        told = f"{_moves(measured, drop)} by {wording.beside(drop, most)}, {said} is allowed"
        return Finding("DropTooLarge", told, _share(drop - most, most))
    if _exceeds(error, most) and _exceeds(drop + error, most):
        needed = (
            f"; about {math.ceil(samples * (error / most) ** 2)} samples would do" if most > 0 and samples > 0 else ""
        )
        return Finding(
            "EvaluationSetTooSmall",
            f"{samples} samples tell the drop of {_name(measured)} only to ±{error:.2g}, {said} is allowed{needed}",
            _share(drop + error - most, most),
        )
    return None


def _exceeds(value: float, limit: float) -> bool:
    """A NaN exceeds everything."""
    return not value <= limit + _TOLERANCE * max(abs(limit), abs(value))


def _share(excess: float, limit: float) -> float:
    """Of the limit; of a usual one where that is 0."""
    return excess / (abs(limit) or DEFAULT_MAX_DROP)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def source_of(measured: MetricMeasured) -> float | None:
    """The source's own value; 1 where the metric compares with it, None where it is not a number."""
    return 1.0 if measured.source is None and measured.type in AGAINST_SOURCE else measured.source


def _drop(measured: MetricMeasured) -> float:
    if measured.drop is not None:
        return measured.drop
    source, value = _number(source_of(measured)), _number(measured.value)
    return value - source if measured.type in ERROR_METRICS else source - value


def _size_findings(measured: Compared | None, limit: gate.SizeLimit) -> Iterator[Finding]:
    most = None if limit.max is None else float(quantity.number(limit.max))
    yield from _bounded("Size", "TooLarge", measured, limit.max_ratio, most, wording.size)


def _memory_findings(
    measured: Compared | None, limit: gate.MemoryLimit | None, stand_in: StandIn | None
) -> Iterator[Finding]:
    if limit is None:
        return
    most, without = None if limit.max is None else float(quantity.number(limit.max)), ""
    if measured is not None and stand_in is not None:
        measured = _of_value(measured, max(0.0, measured.value - stand_in.memory_bytes))
        without = stand_in.without(stand_in.memory_taken())
    yield from _bounded("Peak memory", "TooMuchMemory", measured, limit.max_ratio, most, wording.size, without)


def _latency_findings(
    measured: LatencyMeasured | None, limit: gate.LatencyLimit, stand_in: StandIn | None
) -> Iterator[Finding]:
    name = f"p{limit.percentile} latency"
    if measured is not None and measured.percentile != limit.percentile:
        measured = None
    most, without = None if limit.max is None else 1000 * duration.seconds(limit.max), ""
    gross = measured.gross if measured is not None else None
    if measured is not None and gross is not None and stand_in is not None:
        own = stand_in.milliseconds(measured)
        gross = gross if own is None else _of_value(gross, own)
        without = stand_in.with_it() if own is None else stand_in.without()
    yield from _bounded(name, "TooSlow", gross, limit.max_ratio, most, wording.milliseconds, without)


def _of_value(measured: Compared, value: float) -> Compared:
    """With another value for limits that are no ratio."""
    return measured.model_copy(update={"value": value})


def _bounded(
    name: str,
    reason: str,
    measured: Compared | None,
    max_ratio: float | None,
    most: float | None,
    show: Callable[[float], str],
    without: str = "",
) -> Iterator[Finding]:
    if max_ratio is None and most is None:
        return
    if measured is None:
        yield Finding("NotMeasured", f"{name} was not measured")
        return
    if not (math.isfinite(measured.value) and (max_ratio is None or math.isfinite(measured.ratio))):
        yield Finding("NotFinite", f"{name} is not a number")
        return
    pairs = ((measured.ratio, max_ratio), (measured.value, most))
    excess = max(_share(value - limit, limit) for value, limit in pairs if limit is not None)
    if max_ratio is not None and _exceeds(measured.ratio, max_ratio):
        told = wording.beside(measured.ratio, max_ratio)
        yield Finding(reason, f"{name} is {told} x the source's, {max_ratio:g} x is allowed", excess)
    elif most is not None and _exceeds(measured.value, most):
        yield Finding(reason, f"{name} is {show(measured.value)}{without}, {show(most)} is allowed", excess)


def _summary(measurements: Measurements) -> str:
    parts = [f"{_moves(one, _drop(one))} by {wording.short(abs(_drop(one)))}" for one in measurements.metrics]
    if measurements.size_bytes:
        parts.append(f"size is {wording.short(measurements.size_bytes.ratio)} x the source's")
    if measurements.latency_milliseconds:
        latency = measurements.latency_milliseconds
        parts.append(f"p{latency.percentile} latency {wording.short(latency.gross.ratio)} x")
    if measurements.memory_bytes:
        parts.append(f"peak memory {wording.short(measurements.memory_bytes.ratio)} x")
    return ", ".join(parts) or "Nothing was to be judged"
