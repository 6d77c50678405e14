"""What a network loses without each channel, measured on rows without labels: the criterion `Reconstruction`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters import equations, importance, playback, surgeon
from modelpress.compress.steps.filters.channels import Channels
from modelpress.compress.steps.filters.covariance import Covariance
from modelpress.compress.steps.filters.groups import Group
from modelpress.compress.steps.filters.playback import Batch, Playback
from modelpress.compress.steps.filters.products import Product, kernels, products
from modelpress.compress.steps.filters.surgeon import Reader


@dataclass(frozen=True)
class _Heard:
    """Of the inputs of a layer."""

    covariance: Array
    """As float32, as many layers are held; variances only where inputs are too many."""
    places: int
    """Of the layer's result, for a batch."""


def scores(
    graph: Any, channels: Channels, groups: Sequence[Group], batches: Sequence[Batch], advance: Callable[[], None]
) -> list[Array]:
    """For each group one score a channel: what its readers lose, over the share of all multiplications that it saves.

    Infinite for channels that stay in any case. `advance` is called after each layer and each group.
    """
    layers = playback.heard_by(products(graph), graph, batches[0])
    weights = kernels(graph, layers)
    heard = _heard(graph, layers, weights, batches, advance)
    known = [layer for layer in layers if layer.name in heard]
    read = {layer.name: _read(channels, layer, weights[layer.name]) for layer in known}
    work = {layer.name: heard[layer.name].places * weights[layer.name].size for layer in known}
    made = {layer.kernel: layer for layer in known}
    found = []
    for group in groups:
        reading = [layer for layer in known if np.isin(group.atoms, read[layer.name]).any()]
        blocks = {layer.name: _blocks(read[layer.name], group) for layer in reading}
        losses = surgeon.scores(
            [
                Reader(
                    heard[layer.name].covariance.astype(np.float64),
                    layer.matrix(weights[layer.name]),
                    blocks[layer.name],
                )
                for layer in reading
            ],
            len(group.atoms),
            importance.most(len(group.atoms)) if reading else 0,
        )
        saved = float(sum(work[made[one.name].name] for one in group.weights if one.name in made))
        for layer in reading:
            saved += work[layer.name] * sum(map(len, blocks[layer.name])) / read[layer.name].shape[1]
        found.append(losses * len(group.atoms) * sum(work.values()) / max(1.0, saved))
        advance()
    return found


def _heard(
    graph: Any,
    layers: Sequence[Product],
    weights: Mapping[str, Array],
    batches: Sequence[Batch],
    advance: Callable[[], None],
) -> dict[str, _Heard]:
    """Of the layers whose inputs can be told."""
    found: dict[str, _Heard] = {}
    with Playback(graph, batches, layers) as running:
        for layer in layers:
            results, measured = [], None
            for batch in running:
                data, result = running.run([layer.data, layer.name], batch)
                results.append(result)
                sides = equations.sides(layer, weights[layer.name], data, result, batch, len(batches))
                if sides is not None:
                    measured = measured or Covariance(sides[0], only_variances=sides[0].shape[1] > equations.WIDEST)
                    measured.add(sides[0])
            if measured is not None:
                found[layer.name] = _Heard(measured.found().astype(np.float32), len(layer.places(results[-1])))
            running.keep(layer.name, results)
            advance()
    return found


def _read(channels: Channels, layer: Product, kernel: Array) -> Array:
    """The atoms of each input of a layer, [axes, inputs], of the axes that it sums over and that may lose something.

    An einsum may have several: heads and what a head is made of.
    """
    axes = channels.of(layer.kernel) or ()
    found = [np.zeros((0, len(layer.matrix(kernel))), np.int64)]
    for place in layer.summed(kernel.ndim):
        axis = axes[place] if axes else None
        if axis is not None and channels.atoms.is_prunable(axis):
            shape = [-1 if place == one else 1 for one in range(kernel.ndim)]
            labels = np.broadcast_to(channels.atoms.roots(axis).reshape(shape), kernel.shape)
            found.append(layer.matrix(labels)[None, :, 0])
    return np.concatenate(found)


def _blocks(read: Array, group: Group) -> list[Array]:
    """For each channel of a group, which inputs it is, along the first axis that has any of them."""
    atoms = next(axis for axis in read if np.isin(group.atoms, axis).any())
    order = np.argsort(atoms, kind="stable")
    first = np.searchsorted(atoms[order], group.atoms, "left")
    last = np.searchsorted(atoms[order], group.atoms, "right")
    return [order[start:stop] for start, stop in zip(first, last, strict=True)]
