"""Where another program measured than the one that will serve, absolute limits leave out what it takes itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from modelpress.api import gate
from modelpress.api.measurement import Compared, LatencyMeasured, Measurements, MetricMeasured
from modelpress.compress.evaluation import latency
from modelpress.status.gate import judge
from modelpress.status.stand_in import StandIn

MIB = 2**20
LAST = StandIn("modelpress serve 0.1.0", 550 * MIB)


def compared(value, source=1000.0):
    return Compared(source=source, value=value, ratio=value / source)


def measured(*, memory=600, p95=9.0, constant=4.0):
    """The program takes 4 ms of a request for itself."""
    return Measurements(
        metrics=(MetricMeasured(type="Accuracy", source=0.9, value=0.9, drop=0.0, standard_error=0.001),),
        size_bytes=compared(250),
        latency_milliseconds=LatencyMeasured(
            percentile=95,
            batch_size=1,
            gross=compared(p95),
            p50=compared(6.0),
            net=compared(2.0),
            constant=constant,
        ),
        memory_bytes=compared(memory * MIB, 1000 * MIB),
    )


def verdict(stand_in, found=None, **limits):
    wanted = gate.Gate.model_validate({"metrics": [{"type": "Accuracy"}], **limits})
    return judge(found or measured(), wanted, samples=10_000, stand_in=stand_in)


def test_memory_is_held_against_what_the_model_adds():
    assert verdict(None, memory={"max": "100Mi"}).reason == "TooMuchMemory"
    passed = verdict(LAST, memory={"max": "100Mi"})
    assert passed.passed
    (warning,) = passed.warnings
    assert warning.startswith(
        "spec.gate.memory.max was judged without what modelpress serve 0.1.0 takes itself (about 550 MiB): TensorFlow"
    )
    refused = verdict(LAST, memory={"max": "40Mi"})
    assert (refused.reason, refused.message) == (
        "TooMuchMemory",
        "Peak memory is 50 MiB without what modelpress serve 0.1.0 takes itself (about 550 MiB), 40 MiB is allowed",
    )


def test_latency_is_held_against_what_it_is_without_the_median_of_constant_answers():
    assert verdict(None, latency={"max": "6ms"}).reason == "TooSlow"
    passed = verdict(LAST, latency={"max": "6ms"})
    assert passed.passed
    assert "spec.gate.latency.max was judged without what modelpress serve 0.1.0 takes itself" in passed.warnings[0]
    refused = verdict(LAST, latency={"max": "4ms"})
    assert (refused.reason, refused.message) == (
        "TooSlow",
        "p95 latency is 5 ms without what modelpress serve 0.1.0 takes itself, 4 ms is allowed",
    )


def times_of(*, disturbed, rounds=48):
    """Of a source of 20 ms and a candidate of 5 ms, both with the server's 1 ms."""
    random = np.random.default_rng(0)
    longer = np.where(random.permutation(rounds) < disturbed, 2.0, 1.0)

    def side(milliseconds):
        return tuple(milliseconds * factor * random.lognormal(0, 0.03, 40) for factor in longer)

    return latency.Timed(side(20), side(5), side(1), side(1))


@pytest.mark.parametrize(
    ("disturbed", "median", "limits"),
    [(0, 1.0, ("4ms", "5ms")), (24, 1.45, ("8ms", "10ms")), (36, 1.95, ("8ms", "9ms"))],
)
def test_noise_of_other_programs_is_not_taken_for_the_servers_own_part(disturbed, median, limits):
    """The model takes 4 ms and the server 1 ms, both twice as long in rounds in which others run."""
    taken = latency.summary(times_of(disturbed=disturbed), latency.Plan(95, 1, 1))
    assert LAST.milliseconds(taken) == pytest.approx(taken.gross.value - median, rel=0.02)
    found = measured().model_copy(update={"latency_milliseconds": taken})
    assert [verdict(LAST, found, latency={"max": limit}).passed for limit in limits] == [False, True]


def test_what_a_noisy_server_takes_is_left_out_though_no_net_latency_is_left():
    times = times_of(disturbed=0)
    lost = dataclasses.replace(times, source_constant=tuple(2 * block for block in times.source))
    taken = latency.summary(lost, latency.Plan(95, 1, 1))
    assert taken.net is None
    assert LAST.milliseconds(taken) == pytest.approx(taken.gross.value - 1, rel=0.02)


def test_latency_of_which_its_own_part_is_unknown_is_held_whole_and_a_warning_says_so():
    refused = verdict(LAST, measured(constant=None), latency={"max": "8ms"})
    assert refused.message == "p95 latency is 9 ms with what modelpress serve 0.1.0 takes itself, 8 ms is allowed"
    passed = verdict(LAST, measured(constant=None), latency={"max": "10ms"})
    assert passed.passed
    assert passed.warnings[0].startswith("spec.gate.latency.max was judged with what modelpress serve 0.1.0 takes")


def test_ratios_are_judged_as_measured_and_without_a_word():
    assert verdict(LAST, memory={"maxRatio": 0.5}) == verdict(None, memory={"maxRatio": 0.5})
    assert verdict(LAST, latency={"maxRatio": 0.001}) == verdict(None, latency={"maxRatio": 0.001})
    assert verdict(LAST) == verdict(None)


def test_what_was_not_measured_does_not_pass():
    found = measured().model_copy(update={"memory_bytes": None, "latency_milliseconds": None})
    refused = verdict(LAST, found, memory={"max": "1Gi"}, latency={"max": "1s"})
    assert [one.reason for one in refused.findings] == ["NotMeasured", "NotMeasured"]
