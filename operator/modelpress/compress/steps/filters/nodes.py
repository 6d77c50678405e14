"""Attributes of nodes, and what a StridedSlice selects of each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorflow.core.framework import attr_value_pb2

from modelpress.compress.dataset import Array

NEW, REST, INDEX = "new", "rest", "index"
"""A new axis of size 1; as many whole axes as are not mentioned otherwise; an index known at run time only."""
_NOTHING = attr_value_pb2.AttrValue()


def attribute(node: Any, name: str) -> Any:
    """An attribute, empty where it is absent; reading it from the map of attributes would add it."""
    return node.attr.get(name, _NOTHING)


def selection(node: Any, operands: Sequence[Array | None]) -> list[slice | int | str | None] | None:
    """One entry for each position of the specification: a slice, an index, NEW or REST; None: known at run time only.

    `operands` are begin, end and strides; entries that masks decide need no constants. None where strides are unknown.
    """
    begin, end, strides = operands
    if strides is None:
        return None
    masks = {
        name: attribute(node, f"{name}_mask").i for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    found: list[slice | int | str | None] = []
    for place, stride in enumerate(strides.reshape(-1).tolist()):
        bit = 1 << place
        if masks["ellipsis"] & bit:
            found.append(REST)
        elif masks["new_axis"] & bit:
            found.append(NEW)
        elif masks["shrink_axis"] & bit:
            found.append(INDEX if begin is None else int(begin[place]))
        else:
            found.append(_slice(begin, end, stride, place, masks["begin"] & bit, masks["end"] & bit))
    return found


def _slice(begin: Array | None, end: Array | None, stride: int, place: int, first: int, last: int) -> slice | None:
    if (begin is None and not first) or (end is None and not last):
        return None
    start = None if first or begin is None else int(begin[place])
    stop = None if last or end is None else int(end[place])
    return slice(None if start == 0 and stride > 0 else start, stop, stride)
