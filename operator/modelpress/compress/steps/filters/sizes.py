"""What the entries of a graph's shape vectors follow: a literal that is in the way, or the size of some axis.

When channels go, a shape read from a tensor changes by itself; a literal has to be rewritten. An entry that would
come out wrong keeps its channels where they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters.atoms import Atoms, Axis, Labels
from modelpress.compress.steps.filters.nodes import selection

LIMIT = 64
"""Longer integer constants are no shapes."""


class Size(NamedTuple):
    """One entry of a vector of sizes."""

    value: int | None
    """As it is before anything goes; None where only known at run time."""
    axes: tuple[Axis, ...] = ()
    """Axes whose sizes it is the product of."""
    literal: bool = False


Sizes = tuple[Size, ...]
"""Of a vector; a scalar has one."""
UNKNOWN = Size(None)
"""An integer that depends on no channel."""


class Reader(Protocol):
    """What the rules need to know of an operation's operands."""

    atoms: Atoms

    def labels(self, node: Any, position: int) -> Labels | None: ...
    def constant(self, node: Any, position: int) -> Array | None: ...
    def sizes(self, node: Any, position: int) -> Sizes | None: ...
    def length(self, node: Any, position: int) -> int | None: ...
    def outputs(self, node: Any) -> int: ...


def literals(value: Array) -> Sizes:
    """Of a constant."""
    return tuple(Size(int(one), literal=True) for one in value.reshape(-1))


def product(factors: Iterable[Size]) -> Size:
    """The size that is the product of others."""
    axes: list[Axis] = []
    value: int | None = 1
    for factor in factors:
        value = None if value is None or factor.value is None else value * factor.value
        axes.extend(factor.axes)
    return Size(value, tuple(axes))


def settle(atoms: Atoms, axis: Axis, size: Size, what: str) -> None:
    """Keeps the channels of `axis`, whose size an operation is told as `size`, where the two would come apart."""
    following = [one for one in size.axes if atoms.is_prunable(one)]
    if size.literal or (axis is not None and _proportional(atoms, axis, following)):
        return
    atoms.fix_all([axis, *following], f"{what} is told a size that would not follow")


def _proportional(atoms: Atoms, axis: Array, following: list[Axis]) -> bool:
    """Whether the axis always shrinks by the same factor as the one prunable axis that its size follows."""
    if not atoms.is_prunable(axis):
        return not following
    if len(following) != 1 or following[0] is None:
        return False
    other = following[0]
    here, there = (np.bincount(atoms.roots(one), minlength=len(atoms)) for one in (axis, other))
    goes = atoms.may_go(np.arange(len(atoms)))
    return np.array_equal(here[goes] * len(other), there[goes] * len(axis))


def derived(reader: Reader, node: Any) -> list[Sizes] | None:
    """Sizes that an operation makes of sizes, for each of its outputs; None where it does something else with them."""
    rule = _RULES.get(node.op)
    return rule(reader, node) if rule is not None else None


def _shape(reader: Reader, node: Any) -> list[Sizes] | None:
    labels = reader.labels(node, 0)
    if labels is None:
        return None
    return [tuple(Size(None if axis is None else len(axis), (axis,)) for axis in labels)]


def _same(reader: Reader, node: Any) -> list[Sizes] | None:
    sizes = reader.sizes(node, 0)
    return None if sizes is None else [sizes]


def _joined(reader: Reader, node: Any) -> list[Sizes] | None:
    count = len(node.input) - (node.op == "ConcatV2")
    found: list[Size] = []
    for position in range(count):
        sizes = reader.sizes(node, position)
        if sizes is None:
            length = reader.length(node, position)
            if length is None:
                return None
            sizes = (UNKNOWN,) * length
        found.extend(sizes)
    return [tuple(found)]


def _unpacked(reader: Reader, node: Any) -> list[Sizes] | None:
    sizes = reader.sizes(node, 0)
    if sizes is None or len(sizes) != reader.outputs(node):
        return None
    return [(size,) for size in sizes]


def _strided(reader: Reader, node: Any) -> list[Sizes] | None:
    sizes = reader.sizes(node, 0)
    places = selection(node, [reader.constant(node, place) for place in (1, 2, 3)])
    if sizes is None or places is None or len(places) != 1:
        return None
    chosen = places[0]
    if chosen is None or isinstance(chosen, str):
        return None
    return [sizes[chosen] if isinstance(chosen, slice) else (sizes[chosen],)]


def _sliced(reader: Reader, node: Any) -> list[Sizes] | None:
    sizes, begin, count = reader.sizes(node, 0), reader.constant(node, 1), reader.constant(node, 2)
    if sizes is None or begin is None or count is None or begin.size != 1:
        return None
    start = int(begin.reshape(-1)[0])
    length = int(count.reshape(-1)[0])
    return [sizes[start:] if length < 0 else sizes[start : start + length]]


def _gathered(reader: Reader, node: Any) -> list[Sizes] | None:
    sizes, places = reader.sizes(node, 0), reader.constant(node, 1)
    if sizes is None or places is None:
        return None
    return [tuple(sizes[int(place)] for place in places.reshape(-1))]


def _multiplied(reader: Reader, node: Any) -> list[Sizes] | None:
    sizes = reader.sizes(node, 0)
    if sizes is None:
        return None
    if node.op == "Prod":
        return [(product(sizes),)]
    others = reader.sizes(node, 1)
    if others is None or len(others) != len(sizes):
        return None
    return [tuple(product(pair) for pair in zip(sizes, others, strict=True))]


_RULES = {
    "Cast": _same,
    "ConcatV2": _joined,
    "ExpandDims": _same,
    "GatherV2": _gathered,
    "Identity": _same,
    "Mul": _multiplied,
    "Pack": _joined,
    "Prod": _multiplied,
    "Reshape": _same,
    "Shape": _shape,
    "Slice": _sliced,
    "Squeeze": _same,
    "StridedSlice": _strided,
    "Unpack": _unpacked,
}
