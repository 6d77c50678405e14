"""`mode: Auto` goes by what caching costs and saves, and tries again."""

from __future__ import annotations

import pytest

from modelpress.sidecar.effectiveness import (
    LEAST_REQUESTS,
    LEAST_SECONDS,
    LONGEST_REST,
    SHORTEST_REST,
    Effectiveness,
    Totals,
)

COST = 20e-6


class World:
    """Requests with a hit ratio and a model's time, looked at every second."""

    def __init__(self, hit_ratio: float, model: float) -> None:
        self.hit_ratio, self.model = hit_ratio, model
        self.now = 0.0
        self.totals = Totals(0, 0, 0.0, 0, 0.0)
        self.found = Effectiveness(now=0.0)

    def pass_by(self, seconds: float, rate: int = 100) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 1
            if not self.found.resting:
                saved = round(rate * self.hit_ratio)
                calls = rate - saved
                more = Totals(rate, saved, rate * COST, calls, calls * self.model)
            else:
                more = Totals(0, 0, 0.0, rate, rate * self.model)
            self.totals = Totals(*(a + b for a, b in zip(self.totals, more, strict=True)))
            self.found.look(self.totals, self.now)


@pytest.mark.parametrize(
    ("hit_ratio", "model", "pays"),
    [
        (0.5, 5e-3, True),
        (0.01, 5e-3, True),
        (0.0, 5e-3, False),
        (0.3, 50e-6, False),
        (0.5, 50e-6, True),
        (1.0, 5e-3, True),
    ],
)
def test_it_pays_where_hits_times_the_models_time_exceed_the_cost(hit_ratio, model, pays):
    world = World(0.5, model)
    world.pass_by(LEAST_SECONDS + 5)
    world = World(hit_ratio, model) if hit_ratio < 1 else world
    world.hit_ratio = hit_ratio
    world.pass_by(2 * LEAST_SECONDS)
    assert world.found.verdict.pays is pays
    assert world.found.resting is not pays


def test_few_requests_or_little_time_decide_nothing():
    world = World(0.0, 1.0)
    world.pass_by(1000, rate=(LEAST_REQUESTS - 1) // 1000)
    world.pass_by(LEAST_SECONDS - 1000 % LEAST_SECONDS - 1, rate=0)
    assert (world.found.verdict, world.found.resting) == (None, False)
    quick = World(0.0, 1.0)
    quick.pass_by(LEAST_SECONDS - 1, rate=10_000)
    assert quick.found.verdict is None


def test_rests_become_longer_in_vain_and_short_again_after_success():
    world, rests = World(0.0, 1e-3), []
    for _ in range(6):
        while not world.found.resting:
            world.pass_by(1)
        began = world.now
        while world.found.resting:
            world.pass_by(1)
        rests.append(world.now - began)
    assert rests == [SHORTEST_REST, 120, 240, 480, LONGEST_REST, LONGEST_REST]
    world.hit_ratio = 0.9
    while not world.found.verdict.pays:
        world.pass_by(1)
    world.hit_ratio = 0.0
    while not world.found.resting:
        world.pass_by(1)
    assert world.found.rests_for(world.now) == SHORTEST_REST


def test_a_cache_that_answers_everything_is_judged_by_the_models_last_known_time():
    world = World(0.5, 1e-3)
    world.pass_by(LEAST_SECONDS + 1)
    world.hit_ratio = 1.0
    world.pass_by(3 * LEAST_SECONDS)
    assert world.found.verdict.pays


def test_the_verdict_is_told_in_words():
    world = World(0.25, 1e-3)
    world.pass_by(LEAST_SECONDS + 1)
    assert str(world.found.verdict) == "a hit ratio of 25.0% saves 250.0 us a request and costs 20.0 us"


def test_what_repeats_after_minutes_is_found_by_a_window_that_is_long_enough():
    world = World(0.0, 1e-3)
    for _ in range(10):
        while world.found.resting:
            world.pass_by(1)
        tried = world.now
        while not world.found.resting and not (world.found.verdict and world.found.verdict.pays):
            world.hit_ratio = 0.5 if world.now - tried > 100 else 0.0
            world.pass_by(1)
    assert world.found.verdict.pays
