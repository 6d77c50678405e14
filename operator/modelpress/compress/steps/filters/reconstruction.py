"""After filters went: layer by layer, each is solved for what it gave before, from rows without labels.

Least squares as He, Zhang and Sun 2017, Channel Pruning for Accelerating Very Deep Neural Networks, section 3, and Luo,
Wu and Lin 2017, ThiNet, have it: inputs are what the smaller network gives, solved up to there, goals what the source
gives, so that what is off does not add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, get_args

import numpy as np

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters import equations, playback, regression, rows
from modelpress.compress.steps.filters.channels import Channels, canonical
from modelpress.compress.steps.filters.covariance import Covariance
from modelpress.compress.steps.filters.installation import Installation
from modelpress.compress.steps.filters.playback import Batch, Playback
from modelpress.compress.steps.filters.products import Product, kernels, products
from modelpress.compress.steps.filters.rebuild import sliced
from modelpress.compress.steps.filters.regression import Fit, Sums, Way

HELD_OUT = 4
"""Every so-manieth batch tells how far the others are to be trusted."""
_ALIKE = 1e-8
"""Of the variance of an output; less is rounding."""


def solved(
    before: Any,
    after: Any,
    channels: Channels,
    gone: Array,
    batches: Sequence[Batch],
    advance: Callable[[], None],
    held: Collection[str] = (),
) -> tuple[Any, str]:
    """GraphDef of `after` with solved layers, and how many these are, for people; `advance` is called after each layer.

    `held`: constants that earlier steps gave zeros or shared values; such kernels stay, only their bias is solved.
    """
    layers = playback.heard_by(products(after), after, batches[0])
    weights = kernels(after, layers)
    result, ways = Installation(after), Counter[Way]()
    with ExitStack() as stack:
        source, smaller = (stack.enter_context(Playback(graph, batches, layers)) for graph in (before, after))
        walk = _Walk(source, smaller, channels, gone, held)
        for layer in layers:
            fit = walk.passed(layer, weights[layer.name])
            if fit is not None:
                result.install(layer, fit)
                ways[fit.way] += 1
            advance()
    return result.graph, _told(ways, rows.count(batches))


def _told(ways: Counter[Way], number: int) -> str:
    parts = [f"{_counted(ways['least squares'], 'layer')} solved by least squares"] if ways["least squares"] else []
    parts += [f"{way} of {_counted(ways[way], 'layer')} restored" for way in get_args(Way)[1:] if ways[way]]
    return f"on {_counted(number, 'row')} {', '.join(parts) or 'no layer had to be solved'}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


class _Walk:
    """Source and smaller network run side by side, from layer to layer."""

    def __init__(
        self, source: Playback, smaller: Playback, channels: Channels, gone: Array, held: Collection[str]
    ) -> None:
        self._source, self._smaller = source, smaller
        self._channels, self._gone, self._held = channels, gone, held
        self._heard: tuple[str, list[Array]] = ("", [])

    def passed(self, layer: Product, kernel: Array) -> Fit | None:
        """Goes on behind a layer; what it becomes, None where it gives what it did or cannot be solved."""
        goals = [self._source.run([layer.name], batch)[0] for batch in self._source]
        if self._heard[0] != layer.data:  # several layers in a row may hear the same, as those of attention do
            self._heard = layer.data, [self._smaller.run([layer.data], batch)[0] for batch in self._smaller]
        fit = self._fit(layer, kernel, goals)
        self._source.keep(layer.name, goals)
        self._smaller.keep(layer.name, list(self._results(layer, kernel, fit)))
        return fit

    def _fit(self, layer: Product, kernel: Array, goals: list[Array]) -> Fit | None:
        matrix = layer.matrix(kernel).astype(np.float64)
        if len(matrix) > equations.WIDEST:
            return None if layer.kernel in self._held else self._rescaled(layer, kernel, goals)
        fitting, held_out = self._sums(layer, kernel, goals)
        if fitting is None or _is_as_before(fitting, matrix):
            return None
        if layer.kernel in self._held:
            return fitting.with_mean(matrix)
        return regression.fitted(fitting, held_out, matrix)

    def _rescaled(self, layer: Product, kernel: Array, goals: list[Array]) -> Fit:
        """Means and spreads only."""
        axes = self._channels.of(layer.name) or ()
        left = (layer.places(sliced(goal, axes, self._channels, self._gone)) for goal in goals)
        now = (layer.places(result) for result in self._results(layer, kernel, None))
        variances = [Covariance.of(parts, only_variances=True) for parts in (now, left)]
        return regression.rescaled(variances[0], variances[1], layer.matrix(kernel).astype(np.float64))

    def _sums(self, layer: Product, kernel: Array, goals: list[Array]) -> tuple[Sums | None, Sums | None]:
        """Of the rows to fit and of those held out; None where there are none."""
        parts: list[Sums | None] = [None, None]
        axes = self._channels.of(layer.name) or ()
        for batch, (goal, data) in enumerate(zip(goals, self._heard[1], strict=True)):
            left = sliced(goal, axes, self._channels, self._gone)
            sides = equations.sides(layer, kernel, data, left, batch, len(goals))
            if sides is None:
                return None, None
            one, part = Sums.of(*sides), int(batch % HELD_OUT == HELD_OUT - 1)
            known = parts[part]
            parts[part] = one if known is None else known + one
        return parts[0], parts[1]

    def _results(self, layer: Product, kernel: Array, fit: Fit | None) -> Iterator[Array]:
        """What the layer gives from now on, a batch each."""
        values: dict[str, Array] = {}
        shift = np.zeros((), np.float32)
        if fit is not None:
            values[canonical(layer.kernel)] = layer.kernel_of(fit.kernel, kernel.shape).astype(np.float32)
            shift = layer.spread(fit.bias, kernel.shape).astype(np.float32)
        for batch, data in enumerate(self._heard[1]):
            fed = values | {canonical(layer.data): data}
            yield self._smaller.run([layer.name], batch, fed)[0] + shift


def _is_as_before(sums: Sums, matrix: Array) -> bool:
    off = sums.errors(Fit(matrix, np.zeros(matrix.shape[1])))
    return bool((off <= _ALIKE * np.square(sums.spread)).all())
