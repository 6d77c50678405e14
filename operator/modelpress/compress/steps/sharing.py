"""Few values for many weights: one-dimensional k-means, exact steps of Lloyd's algorithm over sorted values. Pure."""

from __future__ import annotations

import numpy as np

from modelpress.compress.dataset import Array

ROUNDS = 100
"""Rounds of Lloyd's algorithm at most; it usually settles earlier."""


def shared(values: Array, count: int, *, keep_zeros: bool) -> tuple[Array, Array]:
    """(values replaced by their centroids, numbers of the centroids), both in the shape of `values`.

    Centroids start evenly spaced between the extremes (Han, Mao & Dally 2016, Deep Compression: linear initialisation
    keeps the rare large weights, which matter most). With `keep_zeros`, 0 is one of the `count` centroids and exact
    zeros stay zero.
    """
    flat = values.reshape(-1).astype(np.float64)
    moving = flat[flat != 0] if keep_zeros else flat
    centroids = _centroids(np.sort(moving), count - 1 if keep_zeros else count)
    if keep_zeros:
        centroids = np.concatenate([[0.0], centroids])
    numbers = _nearest(flat, centroids, zeros_first=keep_zeros)
    kept, numbers = np.unique(numbers, return_inverse=True)
    given = centroids.astype(values.dtype)[kept]
    return given[numbers].reshape(values.shape), numbers.astype(np.int32).reshape(values.shape)


def _centroids(ordered: Array, count: int) -> Array:
    """Centroids of sorted values, ascending."""
    if ordered.size == 0:
        return np.zeros(1)
    centroids = np.linspace(ordered[0], ordered[-1], max(1, count))
    sums, squares = (np.concatenate([[0.0], np.cumsum(one)]) for one in (ordered, ordered**2))
    for _ in range(ROUNDS):
        bounds = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        edges = np.concatenate([[0], bounds, [ordered.size]])
        sizes = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(sizes, 1)
        spread = np.diff(squares[edges]) - sizes * means**2
        empty = np.flatnonzero(sizes == 0)
        widest = np.argsort(-spread, kind="stable")[: empty.size]
        means[empty] = ordered[edges[1:][widest] - 1]  # the upper end of the clusters that say least of their values
        means = np.sort(means)
        if np.array_equal(means, centroids):
            break
        centroids = means
    return centroids


def _nearest(flat: Array, centroids: Array, *, zeros_first: bool) -> Array:
    """Numbers of the nearest centroids; with `zeros_first`, number 0 is for zeros alone."""
    moving = centroids[1:] if zeros_first else centroids
    found = np.searchsorted((moving[1:] + moving[:-1]) / 2, flat)
    return np.where(flat == 0, 0, found + 1) if zeros_first else found
