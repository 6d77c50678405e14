"""How much each weight matters, by criterion; and which weights go so that a share of them is gone. Pure.

Magnitude, L1 and L2 take the share from every tensor, Relative and Gradient from the whole model. Of filters, L1 and
L2 are the norms; of single weights they are shares of the norm of the filter (output channel) that a weight is in, so
that weak filters keep their strongest weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from modelpress.compress.dataset import Array

Criterion = Literal["Magnitude", "L1", "L2", "Gradient", "Relative"]
WHOLE_MODEL: tuple[Criterion, ...] = ("Relative", "Gradient")
"""Criteria whose scores can be compared between layers."""
KEPT_SHARE = 0.01
"""Of every tensor stays at least, when weights are chosen over the whole model: an empty layer would end all signal."""
_TINY = 1e-12
_GROUP = 4


def scores(
    criterion: Criterion, values: Mapping[int, Array], gradients: Mapping[int, Array] | None = None
) -> dict[int, Array]:
    """Importance of every weight, by position; `gradients` are mean |w * dL/dw|, needed for `Gradient`."""
    if criterion == "Gradient":
        taylor = gradients or {}
        return {place: taylor[place] / _norm(taylor[place]) for place in values}
    size = {place: np.abs(value).astype(np.float64) for place, value in values.items()}
    if criterion == "Relative":
        return {place: value / (_norm(value) / np.sqrt(value.size)) for place, value in size.items()}
    if criterion == "L1":
        return {place: value / (_over_filter(value) + _TINY) for place, value in size.items()}
    if criterion == "L2":
        return {place: value / (np.sqrt(_over_filter(value**2)) + _TINY) for place, value in size.items()}
    return size


def without_share(criterion: Criterion, found: Mapping[int, Array], share: float) -> dict[int, Array]:
    """Masks, False for the least important `share` of the weights, equal ones in order of place."""
    if criterion not in WHOLE_MODEL:
        return {
            place: _kept(value.reshape(-1), int(share * value.size)).reshape(value.shape)
            for place, value in found.items()
        }
    total = sum(value.size for value in found.values())
    return _over_all({place: _spared(value) for place, value in found.items()}, int(share * total))


def below(values: Mapping[int, Array], threshold: float, limit: float) -> dict[int, Array]:
    """Masks, False for weights below the threshold, the smallest first, until `limit` of all of them are gone."""
    size = {place: np.abs(value) for place, value in values.items()}
    small = sum(int(np.count_nonzero(value < threshold)) for value in size.values())
    return _over_all(size, min(small, int(limit * sum(value.size for value in size.values()))))


def two_of_four(found: Array, axis: int) -> Array:
    """Mask that keeps the two most important of any four neighbours along `axis`, whose size four divides."""
    moved = np.moveaxis(found, axis, -1)
    groups = moved.reshape(-1, _GROUP)
    kept = np.ones(groups.shape, bool)
    np.put_along_axis(kept, np.argsort(groups, axis=1, kind="stable")[:, : _GROUP // 2], False, axis=1)
    return np.ascontiguousarray(np.moveaxis(kept.reshape(moved.shape), -1, axis))


def _over_filter(values: Array) -> Array:
    summed: Array = values.sum(axis=tuple(range(values.ndim - 1)), keepdims=True)
    return summed


def _norm(values: Array) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).sum())) or 1.0


def _spared(values: Array) -> Array:
    """The scores, infinite for the few best of a tensor."""
    spared = values.astype(np.float64).reshape(-1).copy()
    best = max(1, int(KEPT_SHARE * spared.size))
    spared[np.argsort(-spared, kind="stable")[:best]] = np.inf
    return spared.reshape(values.shape)


def _over_all(found: dict[int, Array], removed: int) -> dict[int, Array]:
    flat = np.concatenate([value.reshape(-1) for value in found.values()]) if found else np.zeros(0)
    kept, masks, start = _kept(flat, removed), {}, 0
    for place, value in found.items():
        masks[place] = kept[start : start + value.size].reshape(value.shape)
        start += value.size
    return masks


def _kept(flat: Array, removed: int) -> Array:
    kept = np.ones(flat.size, bool)
    if removed:
        kept[np.argsort(flat, kind="stable")[:removed]] = False
    return kept
