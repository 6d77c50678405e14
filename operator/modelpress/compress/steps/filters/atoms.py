"""Channels as atoms: entries of tensor axes that only go together are one atom; some atoms must stay.

A disjoint-set forest over arrays. Every axis of every tensor carries one label an entry; labels are atoms.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from modelpress.compress.dataset import Array

FIXED = 0
"""The label of entries that were never a channel: pixels, rows of a batch, axes of size 1."""
Axis = Array | None
"""Labels of an axis, int64; None where its size is only known at run time."""
Labels = tuple[Axis, ...]
"""Of all axes of a tensor."""


class Atoms:
    """Labels, which of them are one atom, and which must stay."""

    def __init__(self) -> None:
        self._parent: Array = np.zeros(1, np.int64)
        self._stays: Array = np.ones(1, bool)
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, count: int) -> Array:
        """As many new labels, each an atom of its own that may go."""
        first = len(self._parent)
        labels = np.arange(first, first + count, dtype=np.int64)
        self._parent = np.concatenate([self._parent, labels])
        self._stays = np.concatenate([self._stays, np.zeros(count, bool)])
        return labels

    def roots(self, labels: Array) -> Array:
        """The atom of each label, named by one of its labels."""
        found = self._parent[labels]
        while not np.array_equal(above := self._parent[found], found):
            found = above
        self._parent[labels] = found
        return found

    def may_go(self, labels: Array) -> Array:
        """True for each label whose atom may be removed."""
        return ~self._stays[self.roots(labels)]

    def is_prunable(self, axis: Axis) -> bool:
        """Whether anything of the axis may go."""
        return axis is not None and bool(self.may_go(axis).any())

    def unite(self, first: Array, second: Array, why: str) -> None:
        """Entries at equal places only go together; where one of the two must stay, so must the other.

        `why` is told where entries turn out to be no channels on the other side.
        """
        pairs = np.unique(np.stack([self.roots(first), self.roots(second)]), axis=1)
        for one, other in pairs.T.tolist():
            self._join(one, other, why)

    def fix(self, labels: Array, why: str) -> None:
        """These atoms must stay; the first reason is kept."""
        for root in np.unique(self.roots(labels)).tolist():
            self._fix_root(root, why)

    def fix_all(self, axes: Iterable[Axis], why: str) -> None:
        """`fix` for several axes."""
        for axis in axes:
            if axis is not None:
                self.fix(axis, why)

    def reason(self, labels: Array) -> str | None:
        """Why the first of these labels that must stay has to; None where all may go."""
        roots = self.roots(labels)
        return next((self._reasons[root] for root in roots.tolist() if root in self._reasons), None)

    def _join(self, one: int, other: int, why: str) -> None:
        one, other = self._root(one), self._root(other)
        if one == other:
            return
        if FIXED in (one, other):
            self._fix_root(max(one, other), why)
            return
        low, high = min(one, other), max(one, other)
        self._parent[high] = low
        self._stays[low] |= self._stays[high]
        if high in self._reasons:
            self._reasons.setdefault(low, self._reasons.pop(high))

    def _root(self, label: int) -> int:
        while (above := int(self._parent[label])) != label:
            label = above
        return label

    def _fix_root(self, root: int, why: str) -> None:
        if root != FIXED and not self._stays[root]:
            self._stays[root] = True
            self._reasons[root] = why


def plain(size: int) -> Array:
    """Labels of an axis that is no channel."""
    return np.zeros(size, np.int64)


def plain_axes(shape: Iterable[int | None]) -> Labels:
    """Labels of a tensor without channels."""
    return tuple(None if size is None else plain(size) for size in shape)
