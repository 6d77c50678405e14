"""Rules for what sums over channels and makes new ones: convolutions, matrix products, einsum."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters.atoms import Axis, Labels, plain_axes
from modelpress.compress.steps.filters.channels import Channels, Rule, describe
from modelpress.compress.steps.filters.nodes import attribute
from modelpress.compress.steps.filters.pointwise import broadcast, channel_axis, keep_others


def convolution(channels: Channels, node: Any) -> list[Labels] | None:
    """Conv2D and Conv3D: input [.., in], kernel [.., in, out]; grouped ones are left to stay."""
    data, kernel, shape = channels.labels(node, 0), channels.labels(node, 1), channels.shape(node)
    if data is None or kernel is None or shape is None:
        return None
    place = channel_axis(node, len(data))
    keep_others(channels, node, data, place)
    incoming, outgoing = kernel[-2], kernel[-1]
    if not _sums(channels, node, data[place], incoming) or outgoing is None:
        return None
    channels.total(node, 0, place, data[place])
    channels.weights(node.input[1], len(kernel) - 1, outgoing)
    return [_replaced(plain_axes(shape), place, outgoing)]


def depthwise(channels: Channels, node: Any) -> list[Labels] | None:
    """DepthwiseConv2dNative: kernel [height, width, in, multiplier]; a channel becomes `multiplier` of one kind."""
    data, kernel, shape = channels.labels(node, 0), channels.labels(node, 1), channels.shape(node)
    if data is None or kernel is None or shape is None:
        return None
    place = channel_axis(node, len(data))
    keep_others(channels, node, data, place)
    incoming, multiplier = kernel[2], kernel[3]
    if incoming is None or multiplier is None or not _sums(channels, node, data[place], incoming):
        return None
    channels.atoms.fix(multiplier, f"{describe(node)} multiplies channels")
    channels.weights(node.input[1], 2, incoming)
    return [_replaced(plain_axes(shape), place, np.repeat(incoming, len(multiplier)))]


def transposed_convolution(channels: Channels, node: Any) -> list[Labels] | None:
    """Conv2DBackpropInput: sizes of the result, kernel [height, width, out, in], input [.., in]."""
    kernel, data, shape = channels.labels(node, 1), channels.labels(node, 2), channels.shape(node)
    if data is None or kernel is None or shape is None:
        return None
    place = channel_axis(node, len(data))
    keep_others(channels, node, data, place)
    outgoing, incoming = kernel[2], kernel[3]
    if outgoing is None or not _sums(channels, node, data[place], incoming):
        return None
    result = _replaced(plain_axes(shape), place, outgoing)
    channels.resize(node, 0, result)
    channels.total(node, 2, place, data[place])
    channels.weights(node.input[1], 2, outgoing)
    return [result]


def matrix_product(channels: Channels, node: Any) -> list[Labels] | None:
    """MatMul and BatchMatMul: [.., rows, k] x [.., k, columns], either side transposed if it says so."""
    left, right = channels.labels(node, 0), channels.labels(node, 1)
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return None
    names = ("transpose_a", "transpose_b") if node.op == "MatMul" else ("adj_x", "adj_y")
    rows, inner = (-1, -2) if attribute(node, names[0]).b else (-2, -1)
    other, columns = (-1, -2) if attribute(node, names[1]).b else (-2, -1)
    if not _sums(channels, node, left[inner], right[other]):
        return None
    channels.total(node, 0, len(left) + inner, left[inner])
    _made(channels, node, 0, len(left) + rows, left[rows])
    _made(channels, node, 1, len(right) + columns, right[columns])
    batch = broadcast(channels, node, [left[:-2], right[:-2]])
    return None if batch is None else [(*batch, left[rows], right[columns])]


def einsum(channels: Channels, node: Any) -> list[Labels] | None:
    """Einsum of two operands: letters that the result lacks are summed over; repeated letters are left to stay."""
    terms, _, result = attribute(node, "equation").s.decode().replace(" ", "").partition("->")
    operands = [channels.labels(node, place) for place in range(len(node.input))]
    letters = terms.split(",")
    if len(letters) != 2 or "..." in terms + result or any(len(set(term)) != len(term) for term in [*letters, result]):
        return None
    known: dict[str, Axis] = {}
    for term, labels in zip(letters, operands, strict=True):
        if labels is None or len(labels) != len(term):
            return None
        for letter, axis in zip(term, labels, strict=True):
            found = broadcast(channels, node, [(known.get(letter, axis),), (axis,)])
            if found is None:
                return None
            known[letter] = found[0]
    for place, term in enumerate(letters):
        for number, letter in enumerate(term):
            _einsum_axis(channels, node, place, number, known[letter], letter in result, letter in letters[1 - place])
    return [tuple(known[letter] for letter in result)]


def _einsum_axis(
    channels: Channels, node: Any, operand: int, axis: int, labels: Axis, is_kept: bool, is_shared: bool
) -> None:
    if not is_kept and is_shared and operand == 0:
        channels.total(node, operand, axis, labels)
    elif not is_kept and not is_shared:
        channels.atoms.fix_all([labels], f"{describe(node)} sums it up")
    elif is_kept and not is_shared:
        _made(channels, node, operand, axis, labels)


def _made(channels: Channels, node: Any, operand: int, axis: int, labels: Axis) -> None:
    if labels is not None and len(labels) > 1:
        channels.weights(node.input[operand], axis, labels)


def _sums(channels: Channels, node: Any, one: Axis, other: Axis) -> bool:
    """Whether the two axes, over which products are summed, fit each other; then their channels are the same."""
    if one is None or other is None:
        channels.atoms.fix_all([one, other], f"{describe(node)} sums over a size known at run time")
        return True
    if len(one) != len(other):
        return False
    channels.atoms.unite(one, other, f"{describe(node)} reads it beside what is no channel")
    return True


def _replaced(axes: Labels, place: int, labels: Array) -> Labels:
    return (*axes[:place], labels, *axes[place + 1 :])


RULES: dict[str, Rule] = {
    "BatchMatMul": matrix_product,
    "BatchMatMulV2": matrix_product,
    "BatchMatMulV3": matrix_product,
    "Conv2D": convolution,
    "Conv2DBackpropInput": transposed_convolution,
    "Conv3D": convolution,
    "DepthwiseConv2dNative": depthwise,
    "Einsum": einsum,
    "MatMul": matrix_product,
}
