"""The covariance of rows that come in batches. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from modelpress.compress.dataset import Array


class Covariance:
    """Of rows that come in batches, in float64.

    They are counted from the mean of the first batch: else it would be a small difference of large sums.
    """

    def __init__(self, first: Array, *, only_variances: bool = False) -> None:
        """`first`: the first batch, [rows, inputs]; it still has to be added."""
        self._origin = first.mean(0, dtype=np.float64)
        size = len(self._origin)
        self._is_wide = only_variances
        self._rows, self._sums = 0, np.zeros(size)
        self._products = np.zeros(size if self._is_wide else (size, size))

    @classmethod
    def of(cls, batches: Iterable[Array], *, only_variances: bool = False) -> Covariance:
        """Of batches, [rows, inputs] each; at least one."""
        rest = iter(batches)
        first = next(rest)
        found = cls(first, only_variances=only_variances)
        for batch in itertools.chain([first], rest):
            found.add(batch)
        return found

    def add(self, inputs: Array) -> None:
        """Of a batch, [rows, inputs]."""
        centred = inputs.astype(np.float64) - self._origin
        self._rows += len(centred)
        self._sums += centred.sum(0)
        self._products += np.square(centred).sum(0) if self._is_wide else centred.T @ centred

    @property
    def mean(self) -> Array:
        """[inputs]."""
        found: Array = self._origin + self._sums / self._rows
        return found

    def found(self) -> Array:
        """[inputs, inputs]; variances, [inputs], where only these were wanted."""
        mean = self._sums / self._rows
        found: Array = self._products / self._rows - (np.square(mean) if self._is_wide else np.outer(mean, mean))
        return found
