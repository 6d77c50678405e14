"""A training that cannot come back is stopped: worse than it began, and far worse than a constant answer."""

from __future__ import annotations

import math

import pytest

from modelpress.compress.training import divergence
from modelpress.compress.training.divergence import Watch

CHANCE = math.log(10)


def stopped_after(losses, worthless=CHANCE):
    """The update at which a training with these losses is stopped; None where it is not."""
    watch = Watch()
    for count, loss in enumerate(losses, start=1):
        watch = watch.after(loss, worthless)
        if watch.is_diverged(worthless):
            return count
    return None


def test_a_loss_that_explodes_is_stopped_within_a_hundred_updates():
    assert stopped_after([2.5] * 30 + [24.0] * 200) < 100


def test_one_that_forgot_everything_gets_a_hundred_updates_to_remember():
    assert 100 < stopped_after([1.0] * 30 + [CHANCE] * 300) < 200


@pytest.mark.parametrize(
    "losses",
    [
        [2.5 / (1 + n / 50) for n in range(500)],
        [24.0] * 20 + [23.0] * 400,
        [0.1] * 40 + [1.0] * 400,
        [2.0] * 40 + [2.4] * 90 + [1.9] * 400,
        [2.5] * 50 + [30.0] + [2.0] * 100,
    ],
    ids=["it falls", "it begins badly", "it forgets, but not all", "it remembers in time", "one bad batch"],
)
def test_others_are_left_alone(losses):
    assert stopped_after(losses) is None


def test_where_the_loss_of_a_constant_answer_is_not_known_nothing_is_stopped():
    assert stopped_after([1.0] * 50 + [1e9] * 100, worthless=math.inf) is None


def test_the_first_updates_are_told_by_their_mean():
    watch = Watch()
    for loss in range(divergence.FIRST):
        watch = watch.after(float(loss), CHANCE)
    assert watch.first == pytest.approx((divergence.FIRST - 1) / 2)
    assert Watch(*[*watch]) == watch
