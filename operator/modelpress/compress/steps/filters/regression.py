"""Least squares by normal equations, drawn towards a known solution as far as rows that were left out ask for. Pure.

Sums are taken in batches in float64, so that rows need not be in memory at once; they are linear, so that those of
two sets of rows can be added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters.covariance import Covariance

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of the mean variance of the inputs."""
MOST = 4.0
"""A spread changes by this factor at most."""
_SILENT = 1e-6
"""The spread of a channel that says nothing."""
_JITTER = 1e-9
"""Of the mean variance: inputs that depend on one another have no other solution."""


Way = Literal["least squares", "means and spreads", "means"]
"""How a fit was found: solved, or outputs only given their means (and spreads) back."""


class Fit(NamedTuple):
    """y = x kernel + bias."""

    kernel: Array
    """[inputs, outputs]"""
    bias: Array
    """[outputs]"""
    way: Way = "means"


@dataclass
class Sums:
    """What least squares need to know of rows: counts, sums, and sums of products."""

    rows: int
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array
    """Squares only: outputs are fitted one by one."""

    @classmethod
    def of(cls, x: Array, y: Array) -> Sums:
        """Of rows [rows, inputs] and [rows, outputs]."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y, np.square(y).sum(0))

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.rows + other.rows,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    @property
    def covariance(self) -> Array:
        """Of the inputs."""
        mean = self.x / self.rows
        found: Array = self.xx / self.rows - np.outer(mean, mean)
        return found

    @property
    def shared(self) -> Array:
        """Covariance of inputs and outputs."""
        found: Array = self.xy / self.rows - np.outer(self.x / self.rows, self.y / self.rows)
        return found

    @property
    def spread(self) -> Array:
        """Standard deviation of the outputs."""
        found: Array = np.sqrt(np.maximum(self.yy / self.rows - np.square(self.y / self.rows), 0))
        return found

    def errors(self, fit: Fit) -> Array:
        """Mean square of what a fit is off, for each output."""
        kernel, bias = fit.kernel, fit.bias
        squares = np.einsum("io,io->o", kernel, self.xx @ kernel) - 2 * np.einsum("io,io->o", kernel, self.xy)
        crossed = 2 * bias * (kernel.T @ self.x - self.y) + self.rows * np.square(bias)
        found: Array = np.maximum(squares + crossed + self.yy, 0) / self.rows
        return found

    def with_mean(self, kernel: Array, way: Way = "means") -> Fit:
        """The kernel with the bias that gives outputs their mean; `way`: how the kernel was found."""
        return Fit(kernel, (self.y - kernel.T @ self.x) / self.rows, way)


def restored(sums: Sums, kernel: Array) -> Fit:
    """A kernel scaled, output by output, so that outputs have their spread again; and the bias for their mean."""
    now = np.sqrt(np.maximum(np.einsum("io,io->o", kernel, sums.covariance @ kernel), 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(now > _SILENT, sums.spread / now, 1.0)
    return sums.with_mean(kernel * np.clip(factor, 1 / MOST, MOST), "means and spreads")


def rescaled(now: Covariance, goal: Covariance, kernel: Array) -> Fit:
    """`restored` from what the kernel gives and should give, variances only, where inputs are too many for sums."""
    spread, wanted = (np.sqrt(np.maximum(one.found(), 0)) for one in (now, goal))
    factor = np.where(spread > _SILENT, wanted / np.maximum(spread, _SILENT), 1.0)
    factor = np.clip(factor, 1 / MOST, MOST)
    return Fit(kernel * factor, goal.mean - factor * now.mean, "means and spreads")


def fitted(fitting: Sums, held_out: Sums | None, kernel: Array) -> Fit:
    """The least squares of all rows, as near to the restored kernel as suits the rows held out.

    Ridge regression towards it, w = w0 + (C + rI)^-1 (c - C w0), with the r of `RIDGES` that is off least on
    `held_out` when fitted on `fitting`; the restored kernel itself where that is off less, or nothing is held out.
    The bias is not drawn.
    """
    if held_out is None:
        return restored(fitting, kernel)
    start = restored(fitting, kernel)
    best, least = None, _lost(held_out, start)
    for ridge in RIDGES:
        lost = _lost(held_out, _ridge(fitting, start.kernel, ridge))
        if lost < least:
            best, least = ridge, lost
    everything = fitting + held_out
    whole = restored(everything, kernel)
    return whole if best is None else _ridge(everything, whole.kernel, best)


def _lost(held_out: Sums, fit: Fit) -> float:
    """Of the variance of each output, so that loud ones do not decide alone."""
    variance = np.square(held_out.spread)
    speaks = variance > _SILENT**2
    return float((held_out.errors(fit)[speaks] / variance[speaks]).sum())


def _ridge(sums: Sums, start: Array, ridge: float) -> Fit:
    covariance = sums.covariance
    size = len(covariance)
    amount = (ridge + _JITTER) * np.trace(covariance) / size
    left = covariance + (amount or 1.0) * np.eye(size)
    moved = np.linalg.solve(left, sums.shared - covariance @ start)
    return sums.with_mean(start + moved, "least squares")
