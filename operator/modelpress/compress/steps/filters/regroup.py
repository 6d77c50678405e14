"""Labels of a reshaped tensor: which axes are merged, which are split, and where the channels are afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters.atoms import Axis, Labels, plain
from modelpress.compress.steps.filters.channels import Channels, describe


def regrouped(channels: Channels, node: Any, data: Labels, target: Sequence[int | None]) -> Labels:
    """Labels of the axes of sizes `target`, matched with those of `data` from the last one on.

    Axes before an unknown size are only known together, so that their channels stay.
    """
    result: list[Axis] = [None if size is None else plain(size) for size in target]
    left, right = len(data), len(target)
    while left and right:
        group = _group(data, target, left, right)
        if group is None:
            break
        first, start = group
        merged = _merged(channels, node, data[first:left])
        result[start:right] = _split(channels, node, merged, [size or 0 for size in target[start:right]])
        left, right = first, start
    channels.atoms.fix_all(data[:left], f"{describe(node)} mixes it with a size known at run time")
    return tuple(result)


def _group(data: Labels, target: Sequence[int | None], left: int, right: int) -> tuple[int, int] | None:
    """Where the smallest runs of last axes begin that hold equally many entries; None where sizes are unknown."""
    first, start = left - 1, right - 1
    while True:
        ours, theirs = data[first:left], target[start:right]
        if any(axis is None for axis in ours) or any(size is None for size in theirs):
            return None
        have = math.prod(len(axis) for axis in ours if axis is not None)
        want = math.prod(size for size in theirs if size is not None)
        if have == want:
            return first, start
        if have < want:
            first -= 1
        else:
            start -= 1
        if first < 0 or start < 0:
            return None


def _merged(channels: Channels, node: Any, axes: Labels) -> Array:
    """The labels of several axes as one; of two axes with channels the first keeps them prunable."""
    known = [axis for axis in axes if axis is not None]
    prunable = [place for place, axis in enumerate(known) if channels.atoms.is_prunable(axis)]
    for place in prunable[1:]:
        channels.atoms.fix(known[place], f"{describe(node)} merges it with other channels")
    lengths = [len(axis) for axis in known]
    if not prunable:
        return plain(math.prod(lengths))
    place = prunable[0]
    repeated = np.repeat(known[place], math.prod(lengths[place + 1 :]))
    return np.tile(repeated, math.prod(lengths[:place]))


def _split(channels: Channels, node: Any, labels: Array, sizes: list[int]) -> list[Axis]:
    """One axis as several: one of them carries the channels, all entries of its slices then only go together."""
    result: list[Axis] = [plain(size) for size in sizes]
    places = [place for place, size in enumerate(sizes) if size > 1]
    if not channels.atoms.is_prunable(labels):
        return result
    if len(places) <= 1:
        result[places[0] if places else 0] = labels
        return result
    cubes = {place: labels.reshape(math.prod(sizes[:place]), sizes[place], -1) for place in places}
    apart = [place for place in places if _is_apart(channels, cubes[place])]
    if not apart:
        place = places[min(channels.choices.get(node.name, 0), len(places) - 1)]
        channels.found.splits[node.name] = (labels, len(places))
    else:
        place = apart[0]
    carried = cubes[place][0, :, 0]
    everywhere = np.broadcast_to(carried[None, :, None], cubes[place].shape)
    channels.atoms.unite(everywhere.reshape(-1), labels, f"{describe(node)} takes it apart")
    result[place] = carried
    return result


def _is_apart(channels: Channels, cube: Array) -> bool:
    """Whether the middle axis tells the atoms already."""
    roots = channels.atoms.roots(cube.reshape(-1)).reshape(cube.shape)
    return bool((roots == roots[:1, :, :1]).all())
