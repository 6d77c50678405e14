"""What the gate lets through, and how it says no."""

from __future__ import annotations

import math
from typing import Any

import pytest

from modelpress.api import gate
from modelpress.api.measurement import Compared, LatencyMeasured, Measurements, MetricMeasured
from modelpress.status.gate import Verdict, is_undecided, judge


def accuracy(
    value: float | None = 0.755, source: float | None = 0.76, error: float = 0.001, **more: Any
) -> MetricMeasured:
    drop = None if value is None or source is None else source - value
    return MetricMeasured(
        type="Accuracy", output="predictions", source=source, value=value, drop=drop, standard_error=error, **more
    )


def compared(ratio: float, source: float = 100.0) -> Compared:
    return Compared(source=source, value=source * ratio, ratio=ratio)


def measured(*metrics: MetricMeasured, size: float = 0.25, latency: float = 0.4, **more: Any) -> Measurements:
    return Measurements(
        metrics=metrics or (accuracy(),),
        size_bytes=compared(size, 100 * 2**20),
        latency_milliseconds=LatencyMeasured(percentile=95, batch_size=1, gross=compared(latency, 20.0)),
        **more,
    )


def limits(**metric: Any) -> gate.Gate:
    return gate.Gate.model_validate({"metrics": [{"type": "Accuracy", **metric}]})


def verdict(measurements: Measurements, of: gate.Gate | None = None, samples: int = 10_000) -> Verdict:
    return judge(measurements, of or limits(), samples=samples)


def test_a_candidate_within_all_limits_passes_and_says_what_it_loses_and_gains() -> None:
    passed = verdict(measured())
    assert passed.passed and passed.reason == "Passed" and not passed.findings
    assert passed.message == ("Accuracy of predictions drops by 0.005, size is 0.25 x the source's, p95 latency 0.4 x")


def test_a_drop_is_refused_with_the_number_and_the_limit() -> None:
    refused = verdict(measured(accuracy(0.729)), limits(maxDrop=0.01))
    assert not refused.passed
    assert refused.reason == "DropTooLarge"
    assert refused.message == "Accuracy of predictions drops by 0.031, 0.01 is allowed"


def test_without_limits_a_metric_may_drop_by_a_hundredth() -> None:
    assert verdict(measured(accuracy(0.7501))).passed
    assert verdict(measured(accuracy(0.749))).reason == "DropTooLarge"


@pytest.mark.parametrize(
    ("found", "gate_of", "excess"),
    [
        (measured(accuracy(0.73)), limits(maxDrop=0.01), 2),
        (measured(accuracy(0.73)), limits(maxDrop=0), 3),
        (measured(accuracy(0.72)), limits(min=0.75), 0.04),
        (measured(size=0.3), gate.Gate.model_validate({"size": {"maxRatio": 0.2}}), 0.5),
        (measured(size=0.3), gate.Gate.model_validate({"size": {"maxRatio": 0.2, "max": "10Mi"}}), 2),
        (measured(latency=1.4), gate.Gate.model_validate({"latency": {"max": "10ms"}}), 1.8),
        (measured(accuracy(None)), limits(), math.inf),
    ],
)
def test_a_finding_tells_by_what_share_of_the_limit_it_is_exceeded(
    found: Measurements, gate_of: gate.Gate, excess: float
) -> None:
    refused = verdict(found, gate_of)
    assert refused.findings[-1].excess == pytest.approx(excess)


def test_a_drop_equal_to_the_limit_passes_in_spite_of_binary_fractions() -> None:
    assert 0.77 - 0.76 > 0.01
    assert verdict(measured(accuracy(0.76, 0.77)), limits(maxDrop=0.01)).passed


def test_the_numbers_said_always_differ() -> None:
    refused = verdict(measured(accuracy(0.7499999)), limits(maxDrop=0.01))
    assert refused.message == "Accuracy of predictions drops by 0.0100001, 0.01 is allowed"


def test_an_improvement_passes() -> None:
    assert verdict(measured(accuracy(0.8))).passed


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_a_number_never_passes(value: float | None) -> None:
    metric = MetricMeasured(type="Accuracy", source=0.7, value=value, drop=0.0)
    refused = verdict(measured(metric), limits(maxDrop=1))
    assert (refused.passed, refused.reason) == (False, "NotFinite")
    assert "candidate" in refused.message


def test_a_source_without_a_value_allows_no_judgement_of_a_drop() -> None:
    assert verdict(measured(accuracy(0.9, source=None))).reason == "NotFinite"
    assert verdict(measured(accuracy(0.9, source=None)), limits(min=0.7)).passed


def test_a_metric_that_was_not_measured_never_passes() -> None:
    of = gate.Gate.model_validate({"metrics": [{"type": "F1"}]})
    assert verdict(measured(), of).reason == "NotMeasured"
    assert "F1 was not measured" in verdict(measured(), of).message


def test_metrics_are_matched_by_type_and_output() -> None:
    of = gate.Gate.model_validate(
        {"metrics": [{"type": "F1", "output": "note", "maxDrop": 0.1}, {"type": "F1", "output": "onset"}]}
    )
    onset = MetricMeasured(type="F1", output="onset", source=0.5, value=0.45, drop=0.05, standard_error=0)
    note = MetricMeasured(type="F1", output="note", source=0.5, value=0.45, drop=0.05, standard_error=0)
    refused = verdict(measured(onset, note), of)
    assert [found.message for found in refused.findings] == ["F1 of onset drops by 0.05, 0.01 is allowed"]


def test_two_metrics_of_one_type_are_matched_in_order() -> None:
    of = gate.Gate.model_validate(
        {"metrics": [{"type": "TopK", "k": 1, "min": 0.5}, {"type": "TopK", "k": 5, "min": 0.9}]}
    )
    first = MetricMeasured(type="TopK", source=0.6, value=0.6, drop=0.0)
    second = MetricMeasured(type="TopK", source=0.8, value=0.8, drop=0.0)
    assert verdict(measured(first, second), of).message == "TopK is 0.8, at least 0.9 is needed"


def test_a_minimum_is_an_absolute_bound() -> None:
    assert verdict(measured(accuracy(0.69, 0.69)), limits(min=0.7)).reason == "BelowMinimum"
    assert verdict(measured(accuracy(0.71, 0.9)), limits(min=0.7)).passed


def test_a_ratio_is_a_share_of_the_sources_value() -> None:
    refused = verdict(measured(accuracy(0.7)), limits(maxDropRatio=0.05))
    assert refused.message == "Accuracy of predictions drops by 0.06, 0.038 (0.05 of the source's 0.76) is allowed"
    assert verdict(measured(accuracy(0.73)), limits(maxDropRatio=0.05)).passed


def error_metric(value: float, source: float = 2.0) -> MetricMeasured:
    return MetricMeasured(type="MeanAbsoluteError", source=source, value=value, drop=value - source, standard_error=0.0)


@pytest.mark.parametrize(("limit", "value", "reason"), [
    ({}, 2.01, "Passed"),
    ({}, 2.03, "DropTooLarge"),
    ({"maxDropRatio": 0.1}, 2.1, "Passed"),
    ({"maxDropRatio": 0.1}, 2.3, "DropTooLarge"),
    ({"maxDrop": 0.5}, 2.4, "Passed"),
    ({"max": 2.2}, 2.3, "AboveMaximum"),
    ({"max": 2.2}, 2.2, "Passed"),
    ({}, 1.0, "Passed"),
])  # fmt: skip
def test_an_error_may_grow_by_a_share_of_the_sources(limit: dict[str, float], value: float, reason: str) -> None:
    of = gate.Gate.model_validate({"metrics": [{"type": "MeanAbsoluteError", **limit}]})
    assert verdict(measured(error_metric(value)), of).reason == reason


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (accuracy(0.77), "Accuracy of predictions rises by 0.01, "),
        (error_metric(1.5), "MeanAbsoluteError drops by 0.5, "),
        (error_metric(2.01), "MeanAbsoluteError rises by 0.01, "),
    ],
)
def test_what_became_better_is_not_called_a_negative_drop(metric: MetricMeasured, said: str) -> None:
    assert verdict(measured(metric), gate.Gate(metrics=(gate.Metric(type=metric.type),))).message.startswith(said)


def test_fidelity_is_judged_against_one() -> None:
    of = gate.Gate()
    good = MetricMeasured(type="Fidelity", output="y", value=0.995, drop=0.005, standard_error=0.0)
    bad = MetricMeasured(type="Fidelity", output="y", value=0.9)
    assert verdict(measured(good), of).passed
    assert verdict(measured(bad), of).message == "Fidelity of y drops by 0.1, 0.01 is allowed"


def test_too_few_samples_are_no_proof() -> None:
    refused = verdict(measured(accuracy(error=0.02)), limits(maxDrop=0.01), samples=200)
    assert refused.reason == "EvaluationSetTooSmall"
    assert refused.message == (
        "200 samples tell the drop of Accuracy of predictions only to ±0.04, 0.01 is allowed; "
        "about 3200 samples would do"
    )


def test_what_became_better_beyond_all_doubt_needs_no_more_samples() -> None:
    assert verdict(measured(accuracy(0.9, error=0.02)), limits(maxDrop=0.01), samples=200).passed
    assert verdict(measured(accuracy(0.78, error=0.02)), limits(maxDrop=0.01), samples=200).reason == (
        "EvaluationSetTooSmall"
    )


@pytest.mark.parametrize(("samples", "error"), [(20, 0.0), (1, None)])
def test_rows_that_are_all_alike_are_little_proof_where_they_are_few(samples: int, error: float | None) -> None:
    alike = accuracy(0.76).model_copy(update={"standard_error": error})
    passed = verdict(measured(alike), limits(maxDrop=0.01), samples=samples)
    (warning,) = passed.warnings
    assert passed.passed
    assert warning.startswith(
        f"{samples} row{' tells' if samples == 1 else 's tell'} little of Accuracy of predictions"
    )
    assert f"by {3 / samples:.2g} (rule of three), 0.01 is allowed; 300 rows would do" in warning


@pytest.mark.parametrize(
    ("metric", "allowed", "samples"),
    [
        (accuracy(0.76, error=0.0), 0.01, 300),
        (accuracy(0.76, error=0.0), 0.0, 20),
        (accuracy(0.755, error=0.001), 0.01, 20),
        (accuracy(0.5, error=0.0), 0.01, 20),
    ],
    ids=["enough rows", "no drop is allowed", "rows differ", "refused"],
)
def test_rows_are_called_few_only_where_that_is_news(metric: MetricMeasured, allowed: float, samples: int) -> None:
    assert not verdict(measured(metric), limits(maxDrop=allowed), samples=samples).warnings


def test_a_metric_that_is_no_share_of_rows_has_no_rule_of_three() -> None:
    faithful = MetricMeasured(type="Fidelity", output="y", value=1.0, drop=0.0, standard_error=0.0)
    assert not verdict(measured(faithful), gate.Gate(), samples=5).warnings


def test_a_drop_beyond_all_doubt_needs_no_more_samples() -> None:
    assert verdict(measured(accuracy(0.5, error=0.02)), limits(maxDrop=0.01), samples=200).reason == "DropTooLarge"


def test_no_drop_at_all_can_be_asked_for_and_shown_by_equal_answers() -> None:
    assert verdict(measured(accuracy(0.76, error=0.0)), limits(maxDrop=0)).passed
    assert verdict(measured(accuracy(0.76, error=0.001)), limits(maxDrop=0)).reason == "EvaluationSetTooSmall"


def test_a_larger_servable_is_refused_by_default() -> None:
    assert verdict(measured(size=1.2)).message == "Size is 1.2 x the source's, 1 x is allowed"
    assert verdict(measured(size=1.2)).reason == "TooLarge"


def test_a_size_in_bytes_is_said_in_binary_units() -> None:
    of = gate.Gate.model_validate({"metrics": [{"type": "Accuracy"}], "size": {"max": "20Mi"}})
    assert verdict(measured(), of).message == "Size is 25 MiB, 20 MiB is allowed"


def test_latency_is_judged_at_its_percentile() -> None:
    refused = verdict(measured(latency=1.4))
    assert (refused.reason, refused.message) == ("TooSlow", "p95 latency is 1.4 x the source's, 1.1 x is allowed")
    of = gate.Gate.model_validate({"metrics": [{"type": "Accuracy"}], "latency": {"percentile": 99}})
    assert verdict(measured(), of).message == "p99 latency was not measured"


@pytest.mark.parametrize(
    ("low", "high", "undecided"), [(1.05, 1.2, True), (1.11, 1.2, False), (0.9, 1.09, False), (None, None, False)]
)
def test_a_limit_within_the_interval_decides_nothing(low: float | None, high: float | None, undecided: bool) -> None:
    latency = LatencyMeasured(percentile=95, batch_size=1, gross=compared(1.0, 20.0), ratio_low=low, ratio_high=high)
    assert is_undecided(latency, gate.LatencyLimit()) is undecided


def test_latency_can_have_an_absolute_limit() -> None:
    of = gate.Gate.model_validate({"metrics": [{"type": "Accuracy"}], "latency": {"max": "5ms"}})
    assert verdict(measured(), of).message == "p95 latency is 8 ms, 5 ms is allowed"


def test_memory_is_judged_only_where_it_has_a_limit() -> None:
    big = measured(memory_bytes=compared(2.0, 2**30))
    of = gate.Gate.model_validate({"metrics": [{"type": "Accuracy"}], "memory": {"max": "1Gi"}})
    assert verdict(big).passed
    assert verdict(big, of).message == "Peak memory is 2 GiB, 1 GiB is allowed"
    assert verdict(measured(), of).reason == "NotMeasured"


def test_a_candidate_that_could_not_be_measured_fails_with_that_reason() -> None:
    refused = verdict(Measurements(failure="DoesNotLoad", failure_message="Not AVAILABLE within 120 s"))
    assert refused == Verdict(False, "DoesNotLoad", "Not AVAILABLE within 120 s", refused.findings)
    assert len(refused.findings) == 1


def test_all_findings_are_told_and_the_first_is_the_reason() -> None:
    refused = verdict(measured(accuracy(0.5), size=2, latency=3))
    assert [found.reason for found in refused.findings] == ["DropTooLarge", "TooLarge", "TooSlow"]
    assert refused.reason == "DropTooLarge"
    assert refused.message.count("; ") == 2
