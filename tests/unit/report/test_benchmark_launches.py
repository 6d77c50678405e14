"""benchmarks/launches.py: several launches of the same servers become one figure with its interval."""

from __future__ import annotations

import sys
from pathlib import Path

from modelpress.api.measurement import Compared, LatencyMeasured

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import launches


def launch(gross, net=None, constant=None):
    def beside(ratio, source):
        return Compared(source=source, value=source * ratio, ratio=ratio)

    return LatencyMeasured(
        percentile=50,
        batch_size=1,
        gross=beside(gross, 2.0),
        p50=beside(gross, 2.0),
        ratio_low=gross - 0.001,
        ratio_high=gross + 0.001,
        net=beside(net, 1.0) if net is not None else None,
        constant=constant,
    )


def test_the_median_is_told_with_the_range_of_all():
    found = launches.middle([launch(ratio) for ratio in (0.98, 1.02, 1.00, 1.01, 0.99)])

    assert found.p50.ratio == found.gross.ratio == 1.00
    assert (found.ratio_low, found.ratio_high) == (0.98, 1.02)


def test_servers_that_differ_by_more_than_each_is_known_to_are_not_told_apart():
    """Each launch alone would call the candidate slower, or faster."""
    found = launches.middle([launch(ratio) for ratio in (0.97, 0.98, 1.02, 1.03)])

    assert found.ratio_low < 1 < found.ratio_high


def test_net_latency_has_its_own_range():
    found = launches.middle([launch(0.9, net) for net in (0.1, 0.3, 0.2)])

    assert (found.net.ratio, found.net_ratio_low, found.net_ratio_high) == (0.2, 0.1, 0.3)


def test_net_latency_is_not_told_where_noise_left_nothing_of_it_once():
    found = launches.middle([launch(0.9, 0.2), launch(0.9), launch(0.9, 0.3)])

    assert found.net is None
    assert found.net_ratio_low is None


def test_what_the_server_takes_itself_is_a_median_too():
    found = launches.middle([launch(0.9, constant=constant) for constant in (3.0, 1.0, 1.2)])

    assert found.constant == 1.2
