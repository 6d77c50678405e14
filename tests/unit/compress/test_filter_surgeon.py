"""Channels are scored by what is lost without them when the others make up for it."""

from __future__ import annotations

import numpy as np

from modelpress.compress.steps.filters import surgeon
from modelpress.compress.steps.filters.surgeon import Reader

EACH = [np.array([place]) for place in range(5)]


def heard(seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(500, 5)) @ random.normal(size=(5, 5)), random.normal(size=(5, 3))


def reader(x, kernel, blocks=EACH):
    return Reader(np.cov(x.T, bias=True), kernel, blocks)


def refitted(x, kernel, left):
    """Share of the variance of x @ kernel that no weights of the inputs that are left can give."""
    x = x - x.mean(0)
    y = x @ kernel
    return np.square(y - x[:, left] @ np.linalg.lstsq(x[:, left], y, rcond=None)[0]).sum() / np.square(y).sum()


def test_a_loss_is_that_of_a_new_fit_without_the_channel():
    x, kernel = heard()
    losses = reader(x, kernel).losses(np.arange(5))
    wanted = [refitted(x, kernel, [one for one in range(5) if one != gone]) for gone in range(5)]
    np.testing.assert_allclose(losses, wanted, rtol=0.05, atol=1e-3)


def test_later_losses_know_what_has_gone():
    x, kernel = heard()
    one = reader(x, kernel)
    one.remove(np.array([3]))
    before = refitted(x, kernel, [0, 1, 2, 4])
    wanted = [refitted(x, kernel, [1, 2, 4]) - before, refitted(x, kernel, [0, 1, 2]) - before]
    np.testing.assert_allclose(one.losses(np.array([0, 4])), wanted, rtol=0.05, atol=1e-3)


def test_of_two_channels_that_say_the_same_one_costs_little_and_the_other_stays():
    x, _ = heard()
    x[:, 1] = -x[:, 0]
    kernel = np.array([[1.0], [-1.5], [0.1], [0.1], [0.1]])
    scores = surgeon.scores([reader(x, kernel)], 5, 4)
    assert min(scores[:2]) < 1e-2
    assert np.isinf(max(scores[:2])), "it stays when all others have gone"


def test_channels_of_several_inputs_go_as_a_whole():
    x, kernel = heard()
    losses = reader(x, kernel, [np.array([0, 2]), np.array([1, 3]), np.array([4]), np.array([], int)]).losses(
        np.arange(4)
    )
    wanted = [refitted(x, kernel, left) for left in ([1, 3, 4], [0, 2, 4], [0, 1, 2, 3])]
    np.testing.assert_allclose(losses[:3], wanted, rtol=0.05, atol=1e-3)
    assert losses[3] == 0, "nobody reads it"


def test_scores_rise_in_the_order_of_going_and_what_stays_has_none():
    x, kernel = heard()
    scores = surgeon.scores([reader(x, kernel), reader(*heard(1))], 5, 3)
    assert np.isinf(scores).sum() == 2
    assert (np.isfinite(surgeon.scores([reader(x, kernel)], 5, 4)).sum(), surgeon.scores([], 5, 0).min()) == (4, np.inf)


def test_of_inputs_too_many_only_variances_are_known_and_nothing_makes_up_for_what_goes():
    x, kernel = heard()
    one = Reader(x.var(0), kernel, EACH)
    wanted = x.var(0) * np.square(kernel).sum(1)
    one.remove(np.array([0]))
    np.testing.assert_allclose(one.losses(np.arange(5)), wanted / wanted.sum())
