"""Zero points for weights that lie to one side: an integer `q` stands for `s * (q + z)`, with `z` other than 0.

The affine quantizer of Krishnamoorthi (2018, section 2.1). Kernels of TFLite multiply integers with zero in the middle,
so that `s * z`, the middle of the range, is taken out of the weights before and multiplied apart (see `centring`).
Zero, which pruning leaves, is kept exactly wherever the range holds it: `z` is an integer there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from modelpress.compress.rows import Array

_ACTIVATIONS = 1e-4
"""What 8 bits lose of an activation, as a share of its mean square: (R / 255)² / 12, its range R 9 times its RMS."""
_WORTH = 0.8
"""A layer whose error zero points make no smaller than this share of it is left with zero in the middle."""
_SHIFTS = {8: (0.25, 0.5, 0.75, 1.0), 4: (0.5, 1.0)}
"""By bits: how far the middle moves towards that of the range; not all the way where few weights lie there."""
_CLIPPED = {8: (1.0,), 4: (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)}
"""By bits: share of the largest weight that the range reaches to."""


class Grid(NamedTuple):
    """What integers of each channel stand for; arrays of one column, a row for each channel."""

    step: Array
    zero: Array

    @property
    def middle(self) -> Array:
        """What the integer 0 stands for."""
        return self.step * self.zero

    def integers(self, values: Array, most: int) -> Array:
        """Of rows of values, as floats."""
        return np.clip(np.rint(values / self.step - self.zero), -most, most)

    def error(self, values: Array, most: int, *, multiplied: bool) -> Array:
        """Mean square of what is lost, by channel; with `multiplied` also of activations, for their mean square of 1.

        Activations are rounded before they are multiplied with what is left of the weights around the middle.
        """
        around = self.integers(values, most) * self.step
        lost = np.square(values - around - self.middle)
        if multiplied:
            lost += _ACTIVATIONS * np.square(around)
        return np.asarray(lost.mean(axis=1, keepdims=True))


class Shifted(NamedTuple):
    """Weights whose middle is worth taking out."""

    middle: Array
    """One value for each channel, float32."""
    around: Array
    """The weights less their middle; for 4 bits the values that remain of them. In their shape, float32."""


def shifted(weights: Array, bits: int, *, per_channel: bool, multiplied: bool = True) -> Shifted | None:
    """Weights around the middles that lose least in `bits` bits (8 or 4); None where that gains next to nothing.

    Channels are places along the first axis. Not `multiplied` are tables, whose rows are picked.
    """
    values = weights.reshape(len(weights) if per_channel else 1, -1).astype(np.float32)
    most = 2 ** (bits - 1) - 1
    plain, _ = _best(values, _grids(values, bits, most, (0.0,)), most, multiplied=multiplied)
    lost, grid = _best(values, _grids(values, bits, most, (0.0, *_SHIFTS[bits])), most, multiplied=multiplied)
    if not np.isfinite(lost).all() or lost.sum() >= _WORTH * plain.sum():
        return None
    middle = grid.middle.astype(np.float32)
    around = values - middle if bits == 8 else (grid.integers(values, most) * grid.step).astype(np.float32)
    return Shifted(middle.reshape(-1), around.reshape(weights.shape))


def _grids(values: Array, bits: int, most: int, shifts: tuple[float, ...]) -> Iterator[Grid]:
    low, high = (found.astype(np.float64) for found in (values.min(1, keepdims=True), values.max(1, keepdims=True)))
    for share in _CLIPPED[bits]:
        reach = share * np.maximum(high, -low)
        below, above = np.clip(low, -reach, reach), np.clip(high, -reach, reach)
        for shift in shifts:
            yield _grid(below, above, most, shift)


def _grid(low: Array, high: Array, most: int, shift: float) -> Grid:
    """The finest one that reaches from `low` to `high`, its middle so far towards theirs."""
    middle = shift * (low + high) / 2
    step = np.maximum(high - middle, middle - low) / most
    step = np.where(step > 0, step, 1.0)
    zero = middle / step
    whole = np.rint(zero)
    finest = np.maximum(_divided(high, whole + most), _divided(low, whole - most))
    holds_zero = (low <= 0) & (high >= 0) & (finest > 0)
    return Grid(np.where(holds_zero, finest, step), np.where(holds_zero, whole, zero))


def _divided(end: Array, integers: Array) -> Array:
    """0 where an end needs no integers, because it is 0 itself."""
    return np.divide(end, integers, out=np.zeros_like(end), where=(integers != 0) & (end != 0))


def _best(values: Array, grids: Iterator[Grid], most: int, *, multiplied: bool) -> tuple[Array, Grid]:
    """For each channel the grid that loses least, the first of equal ones, and what it loses."""
    best = next(grids)
    least = best.error(values, most, multiplied=multiplied)
    for grid in grids:
        lost = grid.error(values, most, multiplied=multiplied)
        is_less = lost < least
        least = np.where(is_less, lost, least)
        best = Grid(np.where(is_less, grid.step, best.step), np.where(is_less, grid.zero, best.zero))
    return least, best
