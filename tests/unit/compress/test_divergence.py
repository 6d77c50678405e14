"""A training that cannot come back is stopped: nearly every batch is worse than in the beginning, and than a guess."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from modelpress.compress.training import divergence
from modelpress.compress.training.divergence import Watch

CHANCE = math.log(10)


def stopped_after(losses, worthless=CHANCE):
    """The update at which a training with these losses is stopped; None where it is not."""
    watch = Watch()
    for count, loss in enumerate(losses, start=1):
        watch = watch.after(loss, worthless)
        if watch.is_diverged:
            return count
    return None


def losses_of(shares, says, *, batch=32, seed=0):
    """(losses of batches, loss of the constant answer) where each row is positive with its share and `says` is given.

    Cross-entropy of two classes; `says` is the probability that the model gives each row.
    """
    rows = np.random.default_rng(seed)
    positive = rows.random(shares.shape) < shares
    each = -np.where(positive, np.log(says), np.log(1 - says))
    base = float(shares.mean())
    return each.reshape(-1, batch).mean(axis=1), -base * math.log(base) - (1 - base) * math.log(1 - base)


def test_a_loss_that_explodes_is_stopped():
    assert stopped_after([2.5] * 30 + [24.0] * 300) < 100


def test_one_that_forgot_everything_gets_longer_to_remember():
    assert 75 < stopped_after([1.0] * 30 + [CHANCE] * 500) < 100


@pytest.mark.parametrize(
    "losses",
    [
        [2.5 / (1 + n / 50) for n in range(500)],
        [24.0] * 20 + [23.0] * 400,
        [0.1] * 40 + [1.0] * 400,
        [2.0] * 40 + [2.4] * 50 + [1.9] * 400,
        [2.5] * 50 + [30.0] + [2.0] * 100,
    ],
    ids=["it falls", "it begins badly", "it forgets, but not all", "it remembers in time", "one bad batch"],
)
def test_others_are_left_alone(losses):
    assert stopped_after(losses) is None


@pytest.mark.parametrize("share", [0.001, 0.003, 0.01, 0.05])
@pytest.mark.parametrize("seed", range(10))
def test_rare_positives_are_no_divergence(share, seed):
    shares = np.full(32 * 2000, share)
    losses, worthless = losses_of(shares, share, seed=seed)
    assert stopped_after(losses, worthless) is None


@pytest.mark.parametrize("seed", range(10))
def test_a_weak_signal_is_no_divergence(seed):
    shares = np.clip(0.5 + 0.1 * np.random.default_rng(seed).standard_normal(32 * 2000), 0.01, 0.99)
    losses, worthless = losses_of(shares, shares, seed=seed)
    assert losses.mean() > divergence.NO_BETTER * worthless
    assert stopped_after(losses, worthless) is None


def test_where_the_loss_of_a_constant_answer_is_not_known_nothing_is_stopped():
    assert stopped_after([1.0] * 50 + [1e9] * 300, worthless=math.inf) is None


def test_where_it_began_is_the_median_of_the_first_losses_and_a_checkpoint_keeps_it():
    watch = Watch()
    for loss in [1.0] * divergence.FIRST + [1e9, 2.0]:
        watch = watch.after(loss, CHANCE)
    assert watch.first == 1.0
    assert Watch.of(json.loads(json.dumps([*watch]))) == watch


def test_one_that_goes_wrong_at_once_is_stopped_too():
    assert stopped_after([0.05, 0.6, 2.0] + [2.0] * 17 + [CHANCE] * 500) < 100


@pytest.mark.parametrize("seed", range(10))
def test_a_bad_model_that_stays_as_it_is_has_not_diverged(seed):
    losses = 24 + np.random.default_rng(seed).standard_normal(2000)
    assert stopped_after(losses) is None
