"""What layers hear, as rows of equations: of large results some places at random, the same for the same layer."""

from __future__ import annotations

import math
import zlib

import numpy as np

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters.products import Product

EACH = 16
"""Equations for each unknown, as far as there are."""
LEAST = 8192
"""Equations, as far as there are."""
WORK = 2e11
"""Products of two inputs at most: very wide layers have fewer equations."""
WIDEST = 2304
"""Inputs of a layer that is solved at most: the work grows with their cube; 3 x 3 x 256, say."""


def places(layer: str, unknowns: int, count: int, batch: int, batches: int) -> Array:
    """Which of `count` places of a batch's result make equations, sorted."""
    wanted = min(max(LEAST, EACH * unknowns), int(WORK / unknowns**2))
    each = max(1, math.ceil(wanted / batches))
    if count <= each:
        return np.arange(count)
    random = np.random.default_rng([zlib.crc32(layer.encode()), batch])
    return np.sort(random.choice(count, each, replace=False))


def sides(
    layer: Product, kernel: Array, data: Array, result: Array, batch: int, batches: int
) -> tuple[Array, Array] | None:
    """What a layer hears, [equations, inputs], and gives, [equations, outputs], in one of so many batches.

    None where it is no product of matrices after all: a grouped convolution.
    """
    inputs = len(layer.matrix(kernel))
    given = layer.places(result)
    chosen = places(layer.name, inputs, len(given), batch, batches)
    heard = layer.heard(data, kernel.shape, result.shape, chosen)
    return (heard, given[chosen]) if heard.shape[1] == inputs else None
