"""Least squares find what there is to find, and go no further from what is known than rows held out bear witness to."""

from __future__ import annotations

import numpy as np
import pytest

from modelpress.compress.steps.filters import regression
from modelpress.compress.steps.filters.covariance import Covariance
from modelpress.compress.steps.filters.regression import Fit, Sums


def rows(count, *, seed=0, noise=0.0, inputs=6, outputs=3):
    """Correlated inputs, and outputs that a kernel and a bias make of them."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, inputs)) @ np.random.default_rng(7).normal(size=(inputs, inputs)) + 2
    kernel, bias = np.random.default_rng(8).normal(size=(inputs, outputs)), np.array([1.0, -2.0, 0.5])[:outputs]
    return x, x @ kernel + bias + noise * random.normal(size=(count, outputs)), kernel


def error(fit, x, y):
    return np.square(x @ fit.kernel + fit.bias - y).mean(0)


def test_sums_of_batches_are_those_of_all_rows():
    x, y, _ = rows(100)
    whole, parts = Sums.of(x, y), Sums.of(x[:30], y[:30]) + Sums.of(x[30:], y[30:])
    np.testing.assert_allclose(parts.covariance, np.cov(x.T, bias=True), atol=1e-9)
    np.testing.assert_allclose(parts.spread, y.std(0))
    np.testing.assert_allclose(parts.shared, whole.shared)


def test_errors_are_told_without_the_rows():
    x, y, kernel = rows(50, noise=0.5)
    fit = Fit(kernel * 1.1, np.array([0.3, 0.0, -1.0]))
    np.testing.assert_allclose(Sums.of(x, y).errors(fit), error(fit, x, y))


def test_a_wrong_kernel_is_put_right_where_there_are_rows_enough():
    x, y, kernel = rows(400)
    fit = regression.fitted(Sums.of(x[:300], y[:300]), Sums.of(x[300:], y[300:]), kernel + 1)
    assert (error(fit, x, y) < 1e-4 * y.var(0)).all()


def test_what_went_is_made_up_for_by_what_it_goes_with():
    x, y, kernel = rows(400)
    x[:, 5] = x[:, 0] + x[:, 1]
    y = x @ kernel
    fit = regression.fitted(Sums.of(x[:300, :5], y[:300]), Sums.of(x[300:, :5], y[300:]), kernel[:5])
    assert (error(fit, x[:, :5], y) < 1e-4 * y.var(0)).all()


def test_few_noisy_rows_move_a_kernel_less_than_plain_least_squares_would():
    x, y, kernel = rows(12, noise=4.0)
    more, truth, _ = rows(1000, seed=1)
    fit = regression.fitted(Sums.of(x[:8], y[:8]), Sums.of(x[8:], y[8:]), kernel)
    plain = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    assert error(fit, more, truth).mean() < error(Fit(plain[:-1], plain[-1]), more, truth).mean()


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_without_rows_to_hold_out_only_means_and_spreads_are_restored(factor):
    x, y, kernel = rows(100)
    fit = regression.fitted(Sums.of(x, y), None, factor * kernel)
    np.testing.assert_allclose(fit.kernel, kernel)
    np.testing.assert_allclose((x @ fit.kernel + fit.bias).mean(0), y.mean(0))


def test_a_spread_grows_fourfold_at_most_and_silence_stays():
    x, y, kernel = rows(100)
    kernel[:, 1] = 0
    fit = regression.restored(Sums.of(x, y), kernel * 0.01)
    np.testing.assert_allclose(fit.kernel[:, 0], 0.04 * kernel[:, 0])
    assert not fit.kernel[:, 1].any()


def test_inputs_that_say_nothing_or_the_same_do_no_harm():
    x, y, kernel = rows(64)
    x[:, 2], x[:, 3] = 1.5, x[:, 4]
    fit = regression.fitted(Sums.of(x[:48], y[:48]), Sums.of(x[48:], y[48:]), kernel)
    assert np.isfinite(fit.kernel).all()
    assert np.isfinite(fit.bias).all()


def test_what_a_kernel_gives_tells_how_it_is_restored_as_well_as_sums_do():
    x, y, kernel = rows(100)
    both = x @ (0.5 * kernel), y
    fit, wanted = (
        regression.rescaled(*(Covariance.of(np.split(one, 4), only_variances=True) for one in both), 0.5 * kernel),
        regression.restored(Sums.of(x, y), 0.5 * kernel),
    )
    np.testing.assert_allclose(fit.kernel, wanted.kernel)
    np.testing.assert_allclose(fit.bias, wanted.bias)
