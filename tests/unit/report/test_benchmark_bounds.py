"""benchmarks/bounds.py: a row says what it promised and did not keep."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelpress.api.measurement import Compared, LatencyMeasured

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import bounds

KEPT = {"off": 1e-7, "parameters": 0.5, "savedmodel_high": 1.04, "tflite_high": 0.6}


def timed(*, net=None, gross=None):
    def compared(interval):
        return Compared(source=1.0, value=interval[1], ratio=interval[1]) if interval else None

    low, _, high = gross or (None, None, None)
    net_low, _, net_high = net or (None, None, None)
    return LatencyMeasured(
        percentile=50,
        batch_size=1,
        gross=compared(gross or (1, 1, 1)),
        p50=compared(gross),
        ratio_low=low,
        ratio_high=high,
        net=compared(net),
        net_ratio_low=net_low,
        net_ratio_high=net_high,
    )


@pytest.mark.parametrize(
    ("measured", "is_slower"),
    [
        (timed(net=(1.01, 1.05, 1.10)), True),
        (timed(net=(0.95, 1.05, 1.10)), False),
        (timed(net=(0.90, 0.95, 0.99), gross=(1.1, 1.2, 1.3)), False),
        (timed(gross=(1.01, 1.02, 1.03)), True),
    ],
    ids=["beyond the interval", "within it", "net counts where it is known", "gross where it is not"],
)
def test_a_search_is_slower_than_a_naive_way_only_beyond_the_interval(measured, is_slower):
    assert bool([*bounds.slower({"tf.lite": bounds.span(measured)})]) == is_slower


def test_what_is_slower_is_named_with_its_interval():
    (said,) = bounds.slower({"tf.lite": bounds.span(timed(net=(1.25, 1.5, 2.0)))})
    assert said == "slower than tf.lite: 1.500 (1.250-2.000) of its net latency"


def test_the_source_beside_a_way_is_the_way_beside_the_source_turned_round():
    turned = bounds.span(timed(net=(0.25, 0.4, 0.5))).inverse
    assert (turned.low, turned.ratio, turned.high) == (2.0, 2.5, 4.0)


def test_latency_without_an_interval_tells_nothing():
    assert bounds.span(timed()) is None


@pytest.mark.parametrize(
    ("own", "trials", "is_resumed", "told"),
    [
        (100.0, [30, 40], False, 100),
        (20.0, [30, 40], True, 70),
        (100.0, [30, 40], True, 100),
        (None, [30, 40], False, 70),
        (None, [], False, None),
    ],
    ids=["from nothing", "after a kill", "after an early kill", "found finished", "steps found finished"],
)
def test_seconds_are_those_of_the_search_in_all_its_runs(own, trials, is_resumed, told):
    assert bounds.spent(own, trials, is_resumed=is_resumed) == told


@pytest.mark.parametrize(("seconds", "is_late"), [(899, False), (905, False), (931, True)])
def test_a_search_is_late_where_more_than_reading_and_writing_follows_its_time(seconds, is_late):
    assert bool([*bounds.late(seconds, 900)]) == is_late


@pytest.mark.parametrize(
    ("size", "latency", "missed"),
    [
        (0.2, 0.12, []),
        (0.21, 0.12, ["size 0.210, 0.2 is required"]),
        (0.19, 0.13, ["net latency 0.130, 0.12 is required"]),
        (None, 0.1, ["size -, 0.2 is required"]),
        (0.19, None, ["net latency -, 0.12 is required"]),
    ],
)
def test_required_bounds_that_do_not_hold_are_named(size, latency, missed):
    assert [*bounds.beyond(size, latency, bounds.Required(0.2, 0.12))] == missed


def test_filters_keep_their_promise_where_one_form_is_faster():
    assert [*bounds.filters(KEPT)] == []


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"off": 2e-5}, "off by 2e-05 of the largest output, 1e-05 is allowed"),
        ({"off": float("nan")}, "off by nan of the largest output, 1e-05 is allowed"),
        ({"parameters": 0.71}, "0.71 of the parameters are left, 0.7 are allowed"),
        ({"tflite_high": 1.0}, "net latency is lower in no form: the upper ends of the ranges are 1.04, 1"),
    ],
)
def test_filters_that_fall_short_are_named(figures, said):
    assert [*bounds.filters({**KEPT, **figures})] == [said]


def test_filters_whose_net_latency_noise_hides_are_not_called_faster():
    (said,) = bounds.filters({"off": 0.0, "parameters": 0.5})
    assert said.endswith("not measurable")
