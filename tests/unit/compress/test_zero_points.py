"""Weights that lie to one side are taken around a middle, where that makes what integers lose smaller."""

from __future__ import annotations

import numpy as np
import pytest

from modelpress.compress.quantization import zero_points

MOST = {8: 127, 4: 7}


def leaning(low, high, shape=(8, 300)):
    return np.random.default_rng(0).uniform(low, high, shape).astype("f4")


def stored(values, bits, *, per_channel):
    """What symmetric integers keep of an array: the way of a quantizer."""
    axes = tuple(range(1, values.ndim)) if per_channel else None
    step = np.abs(values).max(axis=axes, keepdims=True) / MOST[bits]
    return np.rint(values / step) * step


def kept(found, bits, *, per_channel):
    middle = found.middle.reshape(-1, *[1] * (found.around.ndim - 1))
    return stored(found.around, bits, per_channel=per_channel) + middle


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("per_channel", [True, False])
def test_positive_weights_lose_a_quarter_of_the_squares_with_a_zero_point(bits, per_channel):
    weights = leaning(0, 1)
    found = zero_points.shifted(weights, bits, per_channel=per_channel)
    assert found.middle.shape == (8 if per_channel else 1,)
    before, after = (
        np.square(values - weights).mean()
        for values in (
            stored(weights, bits, per_channel=per_channel),
            kept(found, bits, per_channel=per_channel),
        )
    )
    assert after == pytest.approx(before / 4, rel=0.1)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_range_needs_not_reach_to_zero(bits):
    weights = leaning(-1.0, -0.9)
    found = zero_points.shifted(weights, bits, per_channel=True)
    worst = np.abs(kept(found, bits, per_channel=True) - weights).max()
    assert worst <= 1.01 * 0.1 / (2 * MOST[bits]) / 2


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("side", [1, -1])
def test_zeros_that_pruning_left_stay_zero(bits, side):
    weights = side * leaning(-0.1, 1)
    weights[:, ::2] = 0
    found = zero_points.shifted(weights, bits, per_channel=True)
    np.testing.assert_allclose(kept(found, bits, per_channel=True)[:, ::2], 0, atol=1e-6)


def test_four_bits_are_whole_steps_already():
    found = zero_points.shifted(leaning(-0.2, 1), 4, per_channel=True)
    np.testing.assert_allclose(stored(found.around, 4, per_channel=True), found.around, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("weights", [np.random.default_rng(1).normal(size=(8, 300)), np.zeros((4, 9))])
def test_weights_around_zero_are_left_alone(bits, weights):
    assert zero_points.shifted(weights.astype("f4"), bits, per_channel=True) is None


def test_one_far_weight_moves_the_middle_of_a_table_but_not_of_a_kernel():
    weights = np.random.default_rng(1).normal(size=(8, 300)).astype("f4")
    weights[:, 0] = 20
    assert zero_points.shifted(weights, 8, per_channel=True) is None, "activations would lose more than weights gain"
    found = zero_points.shifted(weights, 8, per_channel=True, multiplied=False)
    lost = [
        np.square(one - weights).mean()
        for one in (stored(weights, 8, per_channel=True), kept(found, 8, per_channel=True))
    ]
    assert lost[1] < 0.5 * lost[0]
