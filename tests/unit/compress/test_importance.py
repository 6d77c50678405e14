"""Which weights go, by criterion and structure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.compress.steps import importance

RANDOM = np.random.default_rng(0)
VALUES = {0: RANDOM.normal(size=(3, 3, 8, 16)), 1: RANDOM.normal(scale=0.01, size=(64, 32))}


def removed(masks):
    return {place: float(1 - mask.mean()) for place, mask in masks.items()}


@pytest.mark.parametrize("criterion", ["Magnitude", "L1", "L2"])
def test_the_share_is_taken_from_every_tensor(criterion):
    masks = importance.without_share(criterion, importance.scores(criterion, VALUES), 0.5)
    assert removed(masks) == {0: 0.5, 1: 0.5}


def test_relative_takes_the_share_from_the_whole_model_whatever_the_scale_of_a_layer():
    uniform = {0: RANDOM.uniform(0.9, 1, (40, 40)), 1: RANDOM.normal(scale=0.01, size=(40, 40))}
    masks = importance.without_share("Relative", importance.scores("Relative", uniform), 0.3)
    gone = removed(masks)
    assert (gone[0] + gone[1]) / 2 == pytest.approx(0.3, abs=0.001)
    assert gone[0] < 0.01 < 0.5 < gone[1]


def test_l2_compares_a_weight_with_its_filter_and_magnitude_does_not():
    kernel = np.array([[[[1.0, 10.0], [0.5, 9.0], [2.0, 1.0], [3.0, 8.0]]]])
    by_size = importance.without_share("Magnitude", importance.scores("Magnitude", {0: kernel}), 0.5)[0]
    by_filter = importance.without_share("L2", importance.scores("L2", {0: kernel}), 0.5)[0]
    assert by_size[..., 0].sum() == 1
    assert by_filter[..., 0].sum() == 2 or by_filter[..., 1].sum() == 3
    assert by_filter[..., 0].sum() > by_size[..., 0].sum()


def test_gradient_removes_what_moves_the_loss_least():
    taylor = {0: np.array([[5.0, 0.1], [3.0, 0.2]])}
    masks = importance.without_share("Gradient", importance.scores("Gradient", taylor, taylor), 0.5)
    assert masks[0].tolist() == [[True, False], [True, False]]


def test_no_layer_is_emptied():
    values = {0: RANDOM.normal(size=(10, 10)), 1: np.full((10, 10), 1e-6)}
    taylor = {0: np.abs(values[0]), 1: np.zeros((10, 10))}
    masks = importance.without_share("Gradient", importance.scores("Gradient", values, taylor), 0.9)
    assert masks[1].any()
    assert masks[0].any()


def test_a_threshold_takes_the_smallest_first_until_the_cap():
    values = {0: np.array([[0.1, -0.001], [0.002, 0.5]])}
    assert importance.below(values, 0.01, 1)[0].tolist() == [[True, False], [False, True]]
    assert importance.below(values, 0.01, 0.25)[0].tolist() == [[True, False], [True, True]]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**16))
def test_two_of_any_four_neighbours_along_the_axis_stay(groups, filters, seed):
    scores = np.random.default_rng(seed).random((2, 4 * groups, filters))
    mask = importance.two_of_four(scores, 1)
    by_four = np.moveaxis(mask, 1, -1).reshape(-1, 4)
    assert (by_four.sum(axis=1) == 2).all()
    ordered = np.moveaxis(scores, 1, -1).reshape(-1, 4)
    worst_kept, best_gone = np.where(by_four, ordered, 2).min(axis=1), np.where(by_four, -1, ordered).max(axis=1)
    assert (worst_kept >= best_gone).all()
