"""Which channels the others can make up for: the optimal brain surgeon (Hassibi and Stork 1993), on filters. Pure.

A layer y = x W that loses the inputs B, the weights of the others refitted by least squares, is off by
tr(W_B' ([C^-1]_BB)^-1 W_B), where C is the covariance of x. A few channels go at a time; W and C^-1 are brought up to
date each time, without solving anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelpress.compress.dataset import Array

RIDGE = 1e-3
"""Of the mean variance of the inputs, added to all: few rows make covariances look more certain than they are."""
ROUNDS = 64
"""A group is emptied in so many rounds at most."""
_NOTHING = 1e-12


class Reader:
    """A layer that sums over a group's channels."""

    def __init__(self, covariance: Array, kernel: Array, blocks: Sequence[Array]) -> None:
        """`kernel`: [inputs, outputs]. `blocks`: for each channel of the group, which inputs it is; may be none.

        `covariance` may be variances only, where inputs are too many: nothing then makes up for what goes.
        """
        self._blocks = blocks
        self._shares: Array | None = None
        if covariance.ndim == 1:
            energies = covariance * np.square(kernel).sum(1)
            self._shares = energies / max(_NOTHING, float(energies.sum()))
            return
        amount = RIDGE * float(np.trace(covariance)) / len(covariance)
        self._inverse = np.linalg.inv(covariance + (amount or 1.0) * np.eye(len(covariance)))
        self._kernel = kernel.astype(np.float64)
        self._energy = max(_NOTHING, float(np.einsum("io,io->", kernel, covariance @ kernel)))

    def losses(self, left: Array) -> Array:
        """Share of the variance of what it gives that each of these channels alone would take along."""
        if self._shares is not None:
            return np.array([self._shares[self._blocks[channel]].sum() for channel in left])
        found = np.zeros(len(left))
        sizes = np.array([len(self._blocks[channel]) for channel in left])
        for size in np.unique(sizes[sizes > 0]):
            places = np.flatnonzero(sizes == size)
            blocks = np.stack([self._blocks[channel] for channel in left[places]])
            inner = self._inverse[blocks[:, :, None], blocks[:, None, :]]
            weights = self._kernel[blocks]
            found[places] = np.einsum("abo,abo->a", weights, np.linalg.solve(inner, weights)) / self._energy
        return found

    def remove(self, channels: Array) -> None:
        """Takes channels out and refits the weights of the others."""
        block = np.concatenate([self._blocks[channel] for channel in channels])
        if self._shares is not None or not len(block):
            return
        columns = self._inverse[:, block]
        known = np.concatenate([self._kernel[block], columns.T], axis=1)
        solved = np.linalg.solve(self._inverse[np.ix_(block, block)], known)
        outputs = self._kernel.shape[1]
        self._kernel -= columns @ solved[:, :outputs]
        self._inverse -= columns @ solved[:, outputs:]


def scores(readers: Sequence[Reader], channels: int, most: int) -> Array:
    """For each of a group's channels, what the readers lose when it goes after all that matter less.

    The sum of shares of variance, rising in the order of going; infinite for those that stay when `most` are gone.
    """
    found = np.full(channels, np.inf)
    left = np.arange(channels)
    each = max(1, channels // ROUNDS)
    reached = 0.0
    while channels - len(left) < most:
        losses = sum((reader.losses(left) for reader in readers), np.zeros(len(left)))
        places = np.argsort(losses, kind="stable")[: min(each, most - (channels - len(left)))]
        for place in places:
            reached = max(reached, float(losses[place]))
            found[left[place]] = reached
        for reader in readers:
            reader.remove(left[places])
        left = np.delete(left, places)
    return found
