"""Covariances are taken batch by batch, and inputs far from zero do not cost them their digits."""

from __future__ import annotations

import numpy as np
import pytest

from modelpress.compress.steps.filters.covariance import Covariance


@pytest.mark.parametrize("offset", [0.0, 1e5])
@pytest.mark.parametrize("only_variances", [False, True])
def test_it_is_what_all_rows_at_once_have(offset, only_variances):
    rows = (np.random.default_rng(0).normal(size=(96, 5)) + offset).astype("f4")
    parts = np.split(rows, 3)
    measured = Covariance.of(parts, only_variances=only_variances)
    np.testing.assert_allclose(measured.mean, rows.astype("f8").mean(0))
    expected = np.cov(rows.astype("f8").T, bias=True)
    np.testing.assert_allclose(
        measured.found(), np.diag(expected) if only_variances else expected, rtol=1e-6, atol=1e-9
    )
