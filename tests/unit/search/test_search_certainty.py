"""What ends a trial before any server is asked: what a few rows tell for certain."""

from __future__ import annotations

import pytest

from modelpress.api.gate import Gate
from modelpress.api.measurement import Compared, Measurements, MetricMeasured
from modelpress.compress.search import certainty


def of(kind="Accuracy", *, source=0.9, value=0.9, error=0.01, size=0.3, **more):
    """What was seen of a candidate."""
    drop = None if None in (source, value) else (value - source) * (1 if kind == "MeanAbsoluteError" else -1)
    one = MetricMeasured(type=kind, source=source, value=value, **({"drop": drop, "standard_error": error} | more))
    return Measurements(metrics=(one,), size_bytes=Compared(source=100, value=100 * size, ratio=size))


def lost(seen, kind="Accuracy", *, samples=10_000, **limits):
    """The reason, for 256 rows."""
    gate = Gate.model_validate({"metrics": [{"type": kind, **limits}], "latency": {"maxRatio": 1}})
    found = certainty.lost(seen, gate, rows=min(256, samples), samples=samples)
    return found[0].reason if found else None


def test_a_drop_is_lost_where_the_limit_lies_beyond_two_standard_errors():
    assert lost(of(value=0.86), maxDrop=0.019) == "DropTooLarge"
    assert lost(of(value=0.86), maxDrop=0.021) is None


def test_a_drop_that_chance_may_have_made_goes_on_to_the_servers():
    """The gate itself would refuse it by these rows."""
    assert lost(of(value=0.86, error=0.004), maxDrop=0.035) is None
    assert lost(of(value=0.86, error=0.004), maxDrop=0.035, samples=256) == "DropTooLarge"


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [(0.86, 0.70, None), (0.92, 0.885, None), (0.92, 0.87, "BelowMinimum")],
    ids=["the source misses it here, too", "missed by less than two errors", "missed by more"],
)
def test_a_minimum_is_lost_only_where_the_source_keeps_it(source, value, reason):
    assert lost(of(source=source, value=value), min=0.9) == reason


def test_rows_that_are_too_hard_for_a_minimum_still_tell_the_drop():
    assert lost(of(source=0.86, value=0.7), min=0.9, maxDrop=0.05) == "DropTooLarge"


@pytest.mark.parametrize(
    ("source", "value", "reason"), [(2.5, 3.0, None), (1.9, 2.1, None), (1.9, 2.3, "AboveMaximum")]
)
def test_a_maximum_is_lost_only_where_the_source_keeps_it(source, value, reason):
    seen = of("MeanAbsoluteError", source=source, value=value, error=0.1)
    assert lost(seen, "MeanAbsoluteError", max=2) == reason


def test_a_metric_against_the_source_has_a_source_that_keeps_every_minimum():
    assert lost(of("Agreement", source=None, value=0.8, drop=0.2), "Agreement", min=0.9) == "BelowMinimum"
    assert lost(of("Agreement", source=None, value=0.89, drop=0.11), "Agreement", min=0.9) is None


def test_rows_of_one_class_have_no_auc_and_tell_nothing():
    assert lost(of("AUC", source=None, value=None, error=None), "AUC", maxDrop=0.01) is None


def test_a_value_that_is_no_number_is_lost_where_the_source_has_one():
    assert lost(of(value=None, error=None)) == "NotFinite"
    assert lost(of("Fidelity", source=None, value=None, error=None), "Fidelity") == "NotFinite"


def test_without_an_error_nothing_is_certain_but_on_all_rows():
    assert lost(of(value=0.5, error=None), maxDrop=0.1) is None
    assert lost(of(value=0.5, error=None), maxDrop=0.1, samples=1) == "DropTooLarge"


def test_a_size_is_the_same_on_all_rows():
    assert lost(of(size=1.5)) == "TooLarge"


@pytest.mark.parametrize("samples", [256, 10_000])
def test_all_that_is_lost_is_told_and_by_how_much(samples):
    gate = Gate.model_validate({"metrics": [{"type": "Accuracy", "maxDrop": 0.02}], "size": {"maxRatio": 0.1}})
    found = certainty.lost(of(value=0.84, size=0.25), gate, rows=256, samples=samples)
    assert [(one.reason, round(one.excess, 6)) for one in found] == [("DropTooLarge", 2), ("TooLarge", 1.5)]
