"""Latency of two servers is told apart from noise that hits both."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from modelpress.compress.evaluation import latency
from modelpress.telemetry.progress import Silent


def times_of(ratio, *, blocks=24, each=50, seed=3):
    """Blocks whose noise is shared by source and candidate, the candidate `ratio` times as slow."""
    random = np.random.default_rng(seed)
    drift = random.uniform(1, 3, blocks)
    source = tuple(10 * drift[block] * random.lognormal(0, 0.05, each) for block in range(blocks))
    candidate = tuple(10 * ratio * drift[block] * random.lognormal(0, 0.05, each) for block in range(blocks))
    return latency.Timed(source, candidate)


def timed(source, candidate, plan):
    """Of two without constant-output models."""
    (found,) = latency.together(latency.Side(source), [latency.Side(candidate)], plan, progress=Silent())
    return found


@pytest.mark.parametrize("percentile", [50, 95])
def test_the_interval_holds_the_true_ratio_though_blocks_drift(percentile):
    plan = latency.Plan(percentile, 1, 2)
    found = latency.summary(times_of(0.5), plan)
    assert found.ratio_low < 0.5 < found.ratio_high
    assert found.ratio_high - found.ratio_low < 0.15
    assert found.gross.ratio == pytest.approx(0.5, rel=0.1)


def test_percentiles_are_of_all_requests():
    times = times_of(1.0)
    found = latency.summary(times, latency.Plan(90, 4, 2))
    assert found.gross.source == pytest.approx(np.percentile(np.concatenate(times.source), 90))
    assert found.p50.value == pytest.approx(np.percentile(np.concatenate(times.candidate), 50))
    assert (found.percentile, found.batch_size) == (90, 4)


def test_source_and_candidate_take_turns_and_swap_who_is_first():
    order = []
    plan = latency.Plan(50, 1, 1, seconds=0.0, blocks=4, min_requests=4, warm_up=1)
    timed((lambda _: order.append("A"), [b""]), (lambda _: order.append("B"), [b""]), plan)
    assert "".join(order[-8:]) == "ABBAABBA"


def test_a_measurement_is_bounded_in_requests_and_uses_every_request_in_turn():
    sent = []
    plan = latency.Plan(50, 1, 2, seconds=60, blocks=4, max_requests=80, warm_up=2)
    times = timed((sent.append, [b"1", b"2"]), (lambda _: None, [b""]), plan)
    assert sum(len(block) for block in times.source) == 80
    assert sent.count(b"1") == sent.count(b"2")


def test_an_error_of_the_server_ends_the_measurement():
    failing = itertools.count()

    def send(_):
        if next(failing) > 5:
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        timed((send, [b""]), (send, [b""]), latency.Plan(50, 1, 2))


def test_net_latency_is_what_the_model_adds_to_its_server():
    times = times_of(0.5)
    server = tuple(0.4 * block for block in times.source)
    found = latency.summary(latency.Timed(times.source, times.candidate, server, server), latency.Plan(50, 1, 1))
    assert found.gross.ratio == pytest.approx(0.5, rel=0.1)
    assert found.net.ratio == pytest.approx((0.5 - 0.4) / (1 - 0.4), rel=0.2)
    assert found.net_ratio_low < found.net.ratio < found.net_ratio_high


def test_rounds_that_others_on_the_machine_disturbed_do_not_change_net_latency():
    random = np.random.default_rng(0)
    disturbed = random.permutation(np.arange(48) < 22)

    def side(milliseconds, longer):
        return tuple(
            milliseconds * (longer if is_disturbed else 1) * random.lognormal(0, 0.02, 40) for is_disturbed in disturbed
        )

    times = latency.Timed(side(1.0, 2.0), side(0.6, 1.3), side(0.5, 1.2), side(0.5, 1.2))
    found = latency.summary(times, latency.Plan(50, 1, 1))
    assert found.net.ratio == pytest.approx(0.2, abs=0.03)
    assert found.net_ratio_low < 0.2 < found.net_ratio_high


def test_what_is_lost_in_the_servers_own_time_has_no_net_latency():
    times = times_of(1.0)
    slower = tuple(2 * block for block in times.source)
    assert (
        latency.summary(latency.Timed(times.source, times.candidate, slower, slower), latency.Plan(50, 1, 1)).net
        is None
    )


def test_constants_are_measured_in_the_same_turns():
    order = []
    plan = latency.Plan(50, 1, 1, seconds=0.0, blocks=2, min_requests=2, warm_up=1)
    source, candidate, one, other = ((lambda _, name=name: order.append(name), [b""]) for name in "ABab")
    latency.together(latency.Side(source, one), [latency.Side(candidate, other)], plan, progress=Silent())
    assert "".join(order[-8:]) == "AaBbbBaA", "each model beside what is subtracted from it"


def test_several_candidates_share_one_window_and_each_keeps_its_own_times():
    order = []
    plan = latency.Plan(50, 1, 1, seconds=0.0, blocks=2, min_requests=2, warm_up=1)
    source, one, plain, constant = ((lambda _, name=name: order.append(name), [b""]) for name in "ABCc")
    with_net, without = latency.together(
        latency.Side(source, constant), [latency.Side(one, constant), latency.Side(plain)], plan, progress=Silent()
    )
    assert "".join(order[-10:]) == "AcBcCCcBcA"
    assert with_net.source is without.source
    assert with_net.candidate_constant and not without.source_constant, "net takes two constants"


def test_quick_requests_are_measured_in_more_and_shorter_turns():
    def turns(seconds):
        times = timed(*[(lambda _: None, [b""])] * 2, latency.Plan(50, 1, 1, seconds=seconds))
        return len(times.source), sum(len(block) for block in times.source)

    blocks, requests = turns(seconds=60)
    assert (blocks, requests) == (96, pytest.approx(4000, rel=0.03))
    blocks, requests = turns(seconds=0)
    assert (blocks, requests) == (24, 48)


def test_a_net_latency_that_drowns_in_noise_now_and_then_keeps_a_finite_interval():
    times = times_of(0.9)
    odd = np.random.default_rng(1).uniform(0.5, 1.3, len(times.source))
    server = tuple(factor * block for factor, block in zip(odd, times.source, strict=True))
    found = latency.summary(latency.Timed(times.source, times.candidate, server, server), latency.Plan(50, 1, 1))
    assert found.net is None or np.isfinite([found.net_ratio_low, found.net_ratio_high]).all()
