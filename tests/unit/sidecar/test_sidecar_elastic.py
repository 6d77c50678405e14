"""The elastic limit finds how much concurrency a model can use, in a simulated server that shares its CPUs."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import pytest

from modelpress.sidecar.elastic import PROBE_PERIOD, Elastic


class Outcome(NamedTuple):
    """Of the last second that was simulated."""

    limit: float
    throughput: float
    latency: float


class Processor:
    """Processor sharing: `cpus` CPUs, divided equally among the requests that are in it.

    In work time, which runs at min(1, cpus / n) of real time, a request of work w leaves w after it has come.
    """

    def __init__(self, cpus: float, seed: int = 1) -> None:
        self.cpus = cpus
        self.work = 0.02
        self.now = 0.0
        self._worked = 0.0
        self._random = random.Random(seed)
        self._ends: list[tuple[float, float]] = []

    @property
    def inside(self) -> int:
        return len(self._ends)

    @property
    def rate(self) -> float:
        return min(1.0, self.cpus / self.inside) if self.inside else 1.0

    def next_end(self) -> float:
        return self.now + (self._ends[0][0] - self._worked) / self.rate if self._ends else float("inf")

    def enter(self) -> None:
        work = self.work * self._random.lognormvariate(0, 0.3)
        heapq.heappush(self._ends, (self._worked + work, self.now))

    def advance(self, until: float) -> None:
        self._worked += (until - self.now) * self.rate
        self.now = until

    def leave(self) -> float:
        """How long the request that ends now was inside."""
        return self.now - heapq.heappop(self._ends)[1]


def simulate(
    elastic: Elastic, processor: Processor, seconds: float, *, arrivals: float, queue: int = 64, seed: int = 2
) -> Outcome:
    """Poisson arrivals a second; those that find the queue full are refused."""
    chance = random.Random(seed)
    end = processor.now + seconds
    waiting: deque[float] = deque()
    next_arrival = processor.now + chance.expovariate(arrivals)
    latencies: list[float] = []
    limits: list[int] = []
    while processor.now < end:
        if next_arrival <= processor.next_end():
            processor.advance(next_arrival)
            if len(waiting) < queue:
                waiting.append(processor.now)
            next_arrival += chance.expovariate(arrivals)
        else:
            processor.advance(processor.next_end())
            took = processor.leave()
            elastic.observe(processor.now, took, processor.inside + 1)
            if processor.now > end - 1:
                latencies.append(took)
                limits.append(elastic.limit)
        while waiting and processor.inside < elastic.limit:
            waiting.popleft()
            processor.enter()
    return Outcome(sum(limits) / len(limits), len(latencies), sum(latencies) / len(latencies))


@pytest.mark.parametrize("cpus", [1, 2, 4, 8, 16])
def test_under_overload_it_settles_a_little_above_the_number_of_cpus(cpus):
    elastic, processor = Elastic(least=1, most=256, now=0), Processor(cpus)
    outcome = simulate(elastic, processor, 10, arrivals=3 * cpus / processor.work)
    most = cpus / (processor.work * 1.046)  # 1.046: the mean of the lognormal
    assert cpus <= outcome.limit <= 2 * cpus + 3
    assert outcome.throughput > 0.85 * most
    assert outcome.latency < 3.5 * processor.work


def test_it_keeps_throughput_that_a_limit_too_low_loses_and_latency_that_one_too_high_loses():
    def fixed(limit: int) -> Outcome:
        return simulate(Elastic(least=limit, most=limit, now=0), Processor(4), 10, arrivals=600)

    found = simulate(Elastic(least=1, most=64, now=0), Processor(4), 10, arrivals=600)
    assert found.throughput > 1.8 * fixed(2).throughput
    assert found.latency < 0.3 * fixed(64).latency


def test_it_recovers_when_a_model_that_was_slow_for_a_while_is_fast_again():
    elastic, processor = Elastic(least=1, most=64, now=0), Processor(4)
    before = simulate(elastic, processor, 10, arrivals=600)
    processor.work *= 5
    slow = simulate(elastic, processor, 60, arrivals=600)
    assert slow.throughput > 0.7 * before.throughput / 5  # no collapse: it still uses the CPUs
    processor.work /= 5
    after = simulate(elastic, processor, 40, arrivals=600)
    assert after.throughput > 0.85 * before.throughput
    assert after.limit < 2 * before.limit


def test_it_follows_when_cpus_are_taken_away_and_given_back():
    elastic, processor = Elastic(least=1, most=64, now=0), Processor(8)
    many = simulate(elastic, processor, 10, arrivals=1000)
    processor.cpus = 2
    few = simulate(elastic, processor, 60, arrivals=1000)
    assert few.limit < 0.6 * many.limit
    processor.cpus = 8
    again = simulate(elastic, processor, 40, arrivals=1000)
    assert again.throughput > 0.85 * many.throughput


def test_over_many_measurements_of_the_baseline_the_limit_does_not_creep():
    elastic, processor = Elastic(least=1, most=256, now=0), Processor(2)
    first = simulate(elastic, processor, 5, arrivals=400)
    last = simulate(elastic, processor, 10 * PROBE_PERIOD, arrivals=400)
    assert last.limit < first.limit + 2


def test_without_load_it_does_not_grow():
    elastic, processor = Elastic(least=1, most=64, now=0), Processor(4)
    outcome = simulate(elastic, processor, 60, arrivals=20)  # 0.4 requests at once on average
    assert outcome.limit < 8


@pytest.mark.parametrize("change", [lambda took: took * 1000, lambda took: took / 1000, lambda took: 0.0])
def test_it_stays_between_its_bounds_whatever_is_measured(change: Callable[[float], float]):
    elastic, now = Elastic(least=2, most=5, now=0), 0.0
    chance = random.Random(0)
    for _ in range(5000):
        now += chance.uniform(0, 0.05)
        elastic.observe(now, change(chance.uniform(0, 0.1)), chance.randrange(1, 9))
        assert 2 <= elastic.limit <= 5


def test_failures_that_come_at_once_do_not_count_as_a_fast_model():
    def at_half(failures: int) -> float | None:
        elastic = Elastic(least=1, most=8, now=0)
        for step in range(40):
            for _ in range(failures):
                elastic.observe(step * 0.1, 0.0001, 1, failed=True)
            elastic.observe(step * 0.1, 0.05, 1)
        return elastic.baseline

    assert at_half(5) == at_half(0) == pytest.approx(0.05)


def test_new_bounds_hold_at_once_and_what_was_learnt_is_kept():
    elastic = Elastic(least=1, most=64, now=0)
    simulate(elastic, Processor(8), 10, arrivals=1000)
    baseline = elastic.baseline
    elastic.bound(least=1, most=3)
    assert elastic.limit <= 3
    elastic.bound(least=20, most=30)
    assert elastic.limit >= 20
    assert elastic.baseline == baseline


def test_a_least_above_the_most_is_the_most():
    elastic = Elastic(least=9, most=3, now=0)
    assert elastic.limit == 3
