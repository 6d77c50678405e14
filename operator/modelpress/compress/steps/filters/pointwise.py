"""Rules for what treats every channel for itself: activations, arithmetic with broadcasting, normalisation, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters.atoms import Axis, Labels, plain, plain_axes
from modelpress.compress.steps.filters.channels import Channels, Rule, describe
from modelpress.compress.steps.filters.nodes import attribute

_ONE = (
    *("Abs", "Acos", "Asin", "Atan", "Cast", "Ceil", "Cos", "Elu", "Erf", "Erfc", "Exp", "Expm1", "Floor", "Identity"),
    *("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars"),
    *("Inv", "IsFinite", "IsInf", "IsNan", "LeakyRelu", "Log", "Log1p", "LogicalNot", "Neg", "OnesLike", "Reciprocal"),
    *("Relu", "Relu6", "Rint", "Round", "Rsqrt", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt"),
    *("Square", "StopGradient", "Tan", "Tanh", "ZerosLike"),
)
_SEVERAL = (
    *("Add", "AddN", "AddV2", "ClipByValue", "Div", "DivNoNan", "Equal", "FloorDiv", "FloorMod", "Greater"),
    *("GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr", "Maximum", "Minimum", "Mul", "MulNoNan"),
    *("NotEqual", "Pow", "RealDiv", "SelectV2", "SquaredDifference", "Sub", "Xdivy", "Xlogy"),
)
_POOLS = ("AvgPool", "AvgPool3D", "MaxPool", "MaxPool3D", "MaxPoolV2")
_RESIZES = ("ResizeArea", "ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor")
_REDUCTIONS = ("All", "Any", "ArgMax", "ArgMin", "EuclideanNorm", "Max", "Mean", "Min", "Prod", "Sum")


def broadcast(channels: Channels, node: Any, operands: Sequence[Labels | None]) -> Labels | None:
    """Labels of operands stretched over one another from the last axis; equal places become one atom."""
    if any(labels is None for labels in operands):
        return None
    known = [labels for labels in operands if labels is not None]
    rank = max(len(labels) for labels in known)
    found: list[Axis] = []
    for axis in range(-rank, 0):
        meeting = [labels[axis] for labels in known if len(labels) >= -axis]
        wide = [one for one in meeting if one is not None and len(one) > 1]
        if len({len(one) for one in wide}) > 1:
            return None
        found.append(_met(channels, node, meeting, wide))
    return tuple(found)


def _met(channels: Channels, node: Any, meeting: list[Axis], wide: list[Array]) -> Axis:
    if not wide:
        return None if any(one is None for one in meeting) else plain(1)
    if any(one is None for one in meeting):
        channels.atoms.fix_all(wide, f"{describe(node)} combines it with a size known at run time")
    for one in wide[1:]:
        channels.atoms.unite(wide[0], one, f"{describe(node)} combines it with what is no channel")
    return wide[0]


def one(channels: Channels, node: Any) -> list[Labels] | None:
    """Operations on one tensor, value by value."""
    labels = channels.labels(node, 0)
    return None if labels is None else [labels]


def several(channels: Channels, node: Any) -> list[Labels] | None:
    """Operations on several tensors, value by value."""
    labels = broadcast(channels, node, [channels.labels(node, place) for place in range(len(node.input))])
    return None if labels is None else [labels]


def bias(channels: Channels, node: Any) -> list[Labels] | None:
    """BiasAdd: one value a channel."""
    data, values = channels.labels(node, 0), channels.labels(node, 1)
    if data is None or values is None or not _meet(channels, node, data, [values]):
        return None
    return [data]


def normalization(channels: Channels, node: Any) -> list[Labels] | None:
    """FusedBatchNorm at inference: scale, offset, mean and variance a channel."""
    operands = [channels.labels(node, place) for place in range(5)]
    data = operands[0]
    if "is_training" not in node.attr or node.attr["is_training"].b or data is None:
        return None
    if not _meet(channels, node, data, [labels or () for labels in operands[1:]]):
        return None
    others = [channels.shape(node, output) for output in range(1, channels.outputs(node))]
    return [data, *(plain_axes(shape) if shape is not None else () for shape in others)]


def channel_axis(node: Any, rank: int) -> int:
    """Which axis of an image holds its channels."""
    return 1 if attribute(node, "data_format").s.startswith(b"NC") else rank - 1


def keep_others(channels: Channels, node: Any, data: Labels, place: int) -> None:
    """Only the axis of channels may shrink, no row or column of an image."""
    channels.atoms.fix_all([*data[:place], *data[place + 1 :]], f"{describe(node)} moves over it")


def _meet(channels: Channels, node: Any, data: Labels, vectors: list[Labels]) -> bool:
    """Whether the vectors have one entry a channel; then they go with it."""
    axis = data[channel_axis(node, len(data))]
    for vector in vectors:
        if len(vector) != 1 or axis is None or vector[0] is None or len(vector[0]) != len(axis):
            return False
        channels.atoms.unite(axis, vector[0], f"{describe(node)} combines it with what is no channel")
    return True


def pooling(channels: Channels, node: Any) -> list[Labels] | None:
    """Pooling over height and width."""
    data, shape = channels.labels(node, 0), channels.shape(node)
    if data is None or shape is None:
        return None
    place = channel_axis(node, len(data))
    if node.op == "MaxPoolV2" or attribute(node, "ksize").list.i[place] != 1:
        return None
    keep_others(channels, node, data, place)
    result = list(plain_axes(shape))
    result[place] = data[place]
    return [tuple(result)]


def resizing(channels: Channels, node: Any) -> list[Labels] | None:
    """Images to another height and width."""
    data, shape = channels.labels(node, 0), channels.shape(node)
    if data is None or shape is None:
        return None
    keep_others(channels, node, data, 3)
    return [(*plain_axes(shape)[:3], data[3])]


def reduction(channels: Channels, node: Any) -> list[Labels] | None:
    """Sums, means and the like over constant axes; what is reduced stays, as its number counts."""
    data, axes = channels.labels(node, 0), channels.constant(node, 1)
    if data is None or axes is None:
        return None
    reduced = {int(axis) % len(data) for axis in axes.reshape(-1)} if data else set()
    for axis in reduced:
        channels.atoms.fix_all([data[axis]], f"{describe(node)} counts it")
    if attribute(node, "keep_dims").b:
        return [tuple(plain(1) if axis in reduced else labels for axis, labels in enumerate(data))]
    return [tuple(labels for axis, labels in enumerate(data) if axis not in reduced)]


def each(channels: Channels, node: Any) -> list[Labels] | None:
    """IdentityN: every tensor as it is."""
    return [channels.labels(node, place) or () for place in range(len(node.input))]


def softmax(channels: Channels, node: Any) -> list[Labels] | None:
    """Shares of the last axis; they depend on every entry of it."""
    data = channels.labels(node, 0)
    if data is None:
        return None
    channels.atoms.fix_all(data[-1:], f"{describe(node)} weighs it against the others")
    return [data]


def measured(channels: Channels, node: Any) -> list[Labels] | None:
    """Shape: reading a size changes nothing; what becomes of it is `sizes`' concern."""
    shape = channels.shape(node)
    return None if shape is None or channels.labels(node, 0) is None else [plain_axes(shape)]


def table(channels: Channels, node: Any) -> list[Labels] | None:
    """GatherV2: rows of a table stay, its columns are channels."""
    params, indices, axis = channels.labels(node, 0), channels.labels(node, 1), channels.constant(node, 2)
    if params is None or indices is None or axis is None or attribute(node, "batch_dims").i:
        return None
    place = int(axis) % max(1, len(params))
    channels.atoms.fix_all([params[place], *indices], f"{describe(node)} looks it up")
    for other, labels in enumerate(params):
        if other != place and labels is not None and len(labels) > 1:
            channels.weights(node.input[0], other, labels)
    return [(*params[:place], *indices, *params[place + 1 :])]


RULES: dict[str, Rule] = {
    **dict.fromkeys(_ONE, one),
    **dict.fromkeys(_SEVERAL, several),
    **dict.fromkeys(_POOLS, pooling),
    **dict.fromkeys(_RESIZES, resizing),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), normalization),
    **dict.fromkeys(("LogSoftmax", "Softmax"), softmax),
    "BiasAdd": bias,
    "GatherV2": table,
    "IdentityN": each,
    "Shape": measured,
}
