"""Rules for what moves entries about: reshaping, transposing, joining, splitting, padding, slicing."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelpress.compress.steps.filters import regroup
from modelpress.compress.steps.filters.atoms import Axis, Labels, plain, plain_axes
from modelpress.compress.steps.filters.channels import Channels, Rule, describe
from modelpress.compress.steps.filters.nodes import NEW, REST, attribute, selection
from modelpress.compress.steps.filters.pointwise import broadcast

_WHOLE = slice(None, None, 1)


def reshape(channels: Channels, node: Any) -> list[Labels] | None:
    """Reshape: axes are merged and split; of a split axis one of the new ones carries the channels."""
    data, told, shape = channels.labels(node, 0), channels.sizes(node, 1), channels.shape(node)
    if data is None or (shape is None and told is None):
        return None
    target: list[int | None] = list(shape) if shape is not None else [None] * len(told or ())
    for axis, size in enumerate(told or ()):
        if target[axis] is None and size.value is not None and size.value >= 0:
            target[axis] = size.value
    result = regroup.regrouped(channels, node, data, target)
    channels.resize(node, 1, result)
    return [result]


def transpose(channels: Channels, node: Any) -> list[Labels] | None:
    """Axes in another order."""
    data, order = channels.labels(node, 0), channels.constant(node, 1)
    if data is None or order is None:
        return None
    return [tuple(data[int(axis)] for axis in order)]


def expand(channels: Channels, node: Any) -> list[Labels] | None:
    """A new axis of size 1."""
    data, axis = channels.labels(node, 0), channels.constant(node, 1)
    if data is None or axis is None:
        return None
    place = int(axis.reshape(-1)[0]) % (len(data) + 1)
    return [(*data[:place], plain(1), *data[place:])]


def squeeze(channels: Channels, node: Any) -> list[Labels] | None:
    """Without axes of size 1."""
    data = channels.labels(node, 0)
    if data is None:
        return None
    named = {axis % len(data) for axis in attribute(node, "squeeze_dims").list.i}
    if not named and any(axis is None for axis in data):
        return None
    gone = named or {place for place, axis in enumerate(data) if axis is not None and len(axis) == 1}
    return [tuple(axis for place, axis in enumerate(data) if place not in gone)]


def concatenation(channels: Channels, node: Any) -> list[Labels] | None:
    """ConcatV2: channels after one another; other axes are the same."""
    operands = [channels.labels(node, place) for place in range(len(node.input) - 1)]
    where = channels.constant(node, len(node.input) - 1)
    if where is None or any(labels is None for labels in operands):
        return None
    known = [labels for labels in operands if labels is not None]
    place = int(where) % len(known[0])
    parts = [labels[place] for labels in known]
    joined = _joined(channels, node, parts)
    rest = broadcast(channels, node, [(*labels[:place], *labels[place + 1 :]) for labels in known])
    return None if rest is None else [(*rest[:place], joined, *rest[place:])]


def _joined(channels: Channels, node: Any, parts: list[Axis]) -> Axis:
    whole = [part for part in parts if part is not None]
    if len(whole) == len(parts):
        return np.concatenate(whole)
    channels.atoms.fix_all(whole, f"{describe(node)} joins it with a size known at run time")
    return None


def pack(channels: Channels, node: Any) -> list[Labels] | None:
    """Tensors along a new axis."""
    rest = broadcast(channels, node, [channels.labels(node, place) for place in range(len(node.input))])
    if rest is None:
        return None
    place = attribute(node, "axis").i % (len(rest) + 1)
    return [(*rest[:place], plain(len(node.input)), *rest[place:])]


def unpack(channels: Channels, node: Any) -> list[Labels] | None:
    """Slices along an axis, one an output."""
    data = channels.labels(node, 0)
    if data is None:
        return None
    place = attribute(node, "axis").i % len(data)
    channels.atoms.fix_all([data[place]], f"{describe(node)} takes it apart")
    return [(*data[:place], *data[place + 1 :])] * channels.outputs(node)


def split(channels: Channels, node: Any) -> list[Labels] | None:
    """Split and SplitV: runs of an axis, one an output."""
    whole, where = (1, 0) if node.op == "Split" else (0, 2)
    data, axis = channels.labels(node, whole), channels.constant(node, where)
    if data is None or axis is None:
        return None
    place, count = int(axis) % len(data), channels.outputs(node)
    along = data[place]
    shapes = [channels.shape(node, output) for output in range(count)]
    lengths = [None if shape is None else shape[place] for shape in shapes]
    known = [length for length in lengths if length is not None]
    if along is None or len(known) != count or sum(known) != len(along):
        return None
    parts = np.split(along, np.cumsum(known)[:-1])
    channels.found.parts[node.name] = parts
    return [(*data[:place], part, *data[place + 1 :]) for part in parts]


def pad(channels: Channels, node: Any) -> list[Labels] | None:
    """Pad and PadV2; added channels may go with those they are added to. MirrorPad repeats channels, which stay."""
    data, amounts = channels.labels(node, 0), channels.constant(node, 1)
    if data is None or amounts is None:
        return None
    added: list[tuple[Axis, Axis]] = []
    result: list[Axis] = []
    for axis, (before, after) in zip(data, amounts.tolist(), strict=True):
        if node.op == "MirrorPad" and before + after:
            channels.atoms.fix_all([axis], f"{describe(node)} mirrors it")
        fresh = node.op != "MirrorPad" and channels.atoms.is_prunable(axis)
        both = (channels.atoms.fresh(before), channels.atoms.fresh(after)) if fresh else (plain(before), plain(after))
        added.append(both)
        result.append(None if axis is None else np.concatenate([both[0], axis, both[1]]))
    channels.found.padded[node.name] = added
    return [tuple(result)]


def strided_slice(channels: Channels, node: Any) -> list[Labels] | None:
    """Slices; an axis that is not taken whole stays."""
    data, shape = channels.labels(node, 0), channels.shape(node)
    chosen = selection(node, [channels.constant(node, place) for place in (1, 2, 3)])
    if data is None or shape is None or chosen is None:
        return None
    mentioned = sum(one not in (NEW, REST) for one in chosen)
    at = chosen.index(REST) if REST in chosen else len(chosen)
    spread = [one for one in chosen if one != REST]
    spread[at:at] = [_WHOLE] * (len(data) - mentioned)
    result: list[Axis] = []
    axes = iter(data)
    for one in spread:
        axis = None if one == NEW else next(axes)
        if one == NEW:
            result.append(plain(1))
        elif one == _WHOLE:
            result.append(axis)
        else:
            channels.atoms.fix_all([axis], f"{describe(node)} takes a part of it")
            if one is None or isinstance(one, slice):
                size = shape[len(result)]
                result.append(None if size is None else plain(size))
    return [tuple(result)]


def plain_slice(channels: Channels, node: Any) -> list[Labels] | None:
    """Slice: an axis that is not taken whole stays."""
    data, shape = channels.labels(node, 0), channels.shape(node)
    begin, count = channels.constant(node, 1), channels.constant(node, 2)
    if data is None or shape is None or begin is None or count is None:
        return None
    result: list[Axis] = []
    for axis, start, length, size in zip(data, begin.tolist(), count.tolist(), shape, strict=True):
        if start == 0 and length == -1:
            result.append(axis)
            continue
        channels.atoms.fix_all([axis], f"{describe(node)} takes a part of it")
        result.append(None if size is None else plain(size))
    return [tuple(result)]


def tile(channels: Channels, node: Any) -> list[Labels] | None:
    """Repeated tensors: every copy loses the same channels."""
    data, counts = channels.labels(node, 0), channels.constant(node, 1)
    if data is None or counts is None:
        return None
    return [tuple(axis if axis is None else np.tile(axis, int(n)) for axis, n in zip(data, counts, strict=True))]


def blocks(channels: Channels, node: Any) -> list[Labels] | None:
    """SpaceToBatchND and BatchToSpaceND, as in dilated convolutions: channels pass."""
    data, shape = channels.labels(node, 0), channels.shape(node)
    length = channels.length(node, 1)
    if data is None or shape is None or length is None:
        return None
    channels.atoms.fix_all(data[: length + 1], f"{describe(node)} rearranges it")
    return [(*plain_axes(shape)[: length + 1], *data[length + 1 :])]


RULES: dict[str, Rule] = {
    "BatchToSpaceND": blocks,
    "ConcatV2": concatenation,
    "ExpandDims": expand,
    "MirrorPad": pad,
    "Pack": pack,
    "Pad": pad,
    "PadV2": pad,
    "Reshape": reshape,
    "Slice": plain_slice,
    "SpaceToBatchND": blocks,
    "Split": split,
    "SplitV": split,
    "Squeeze": squeeze,
    "StridedSlice": strided_slice,
    "Tile": tile,
    "Transpose": transpose,
    "Unpack": unpack,
}
