"""What pruning by a threshold leaves without any weight: layers and channels that mattered, told as a warning. Pure.

A threshold fits the layers that it was chosen for; where a layer's weights are all small (a first layer that takes
pixels up to 255, say) it removes the whole layer, and the model answers the same whatever it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from modelpress.compress.dataset import Array

NEGLIGIBLE = 0.01
"""Of the root mean square of a layer's channel norms: a channel below it did little before, and is not missed."""
SHARE = 0.05
"""Of a layer's channels: fewer that go are no more than what pruning is for."""
SHOWN = 5
"""Layers that a warning names."""


class Emptied(NamedTuple):
    """Channels of a layer that lost all of their weights, though they mattered."""

    name: str
    channels: int
    of: int


def found(names: Mapping[int, str], values: Mapping[int, Array], masks: Mapping[int, Array]) -> list[Emptied]:
    """By position among the variables; those that lost the largest share first. Masks are False for what goes."""
    lost = (Emptied(names[place], *_channels(values[place], mask)) for place, mask in masks.items())
    told = (one for one in lost if one.channels and one.channels >= SHARE * one.of)
    return sorted(told, key=lambda one: -one.channels / one.of)


def warning(emptied: list[Emptied], threshold: float) -> str | None:
    """For people, with the cure; None where there is nothing to warn of."""
    if not emptied:
        return None
    layers = [
        f"all of {one.name}" if one.channels == one.of else f"{one.channels} of {one.of} channels of {one.name}"
        for one in emptied[:SHOWN]
    ]
    rest = len(emptied) - SHOWN
    more = f" and channels of {rest} more layer{'s' if rest > 1 else ''}" if rest > 0 else ""
    return (
        f"prune: threshold {threshold:g} removes {', '.join(layers)}{more}: nothing of what they computed is left; "
        "lower threshold or maxSparsity, or name these layers in excludeLayers"
    )


def _channels(value: Array, mask: Array) -> tuple[int, int]:
    """Emptied ones that mattered, and all; output channels are the last axis, of depthwise kernels the last two."""
    axes = tuple(range(value.ndim - (2 if value.shape[-1] == 1 else 1)))
    norms = np.sqrt(np.square(value, dtype=np.float64).sum(axis=axes))
    mattered = norms > NEGLIGIBLE * np.sqrt(np.square(norms).mean())
    return int((mattered & ~mask.any(axis=axes)).sum()), int(norms.size) if mask.any() else int(mattered.sum())
