"""Magnitude pruning: the smallest weights become zero."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Prune
from modelpress.compress.dataset import Array


@dataclass(frozen=True)
class Pruned:
    """What pruning did."""

    masks: dict[int, Array]
    """Position among the variables -> True where a weight stays."""
    removed: int
    considered: int

    @property
    def note(self) -> str:
        """For people."""
        share = self.removed / self.considered if self.considered else 0
        return f"prune: {self.removed:,} of {self.considered:,} weights ({share:.2%}) became 0"


def apply(variables: list[Any], step: Prune, *, field: str) -> Pruned:
    """Sets weights to zero in place. Biases, norms and other vectors are left alone.

    With `threshold`, weights below it go, the smallest of the whole model first, until `maxSparsity` of all prunable
    weights are zero. With `sparsity`, that share of every tensor goes.

    Raises Invalid `StepCannotApply`, `UnknownLayer`.
    """
    chosen = _prunable(variables, step, field)
    values = {position: np.abs(variables[position].numpy()) for position in chosen}
    if step.sparsity is not None:
        masks = {position: _without_smallest(value, step.sparsity) for position, value in values.items()}
    else:
        masks = _below(values, step.threshold or 0, 1 if step.max_sparsity is None else step.max_sparsity)
    for position, mask in masks.items():
        variable = variables[position]
        variable.assign(np.where(mask, variable.numpy(), variable.numpy().dtype.type(0)))
    considered = sum(mask.size for mask in masks.values())
    return Pruned(masks, considered - sum(int(mask.sum()) for mask in masks.values()), considered)


def layer_names(variable_name: str) -> tuple[str, ...]:
    """Names that an expression may match: the variable's path, with and without the model's own name in front."""
    path = variable_name.split(":")[0]
    return path, path.partition("/")[2]


def _prunable(variables: list[Any], step: Prune, field: str) -> list[int]:
    weights = [
        position
        for position, variable in enumerate(variables)
        if variable.trainable and variable.dtype.is_floating and len(variable.shape) >= 2
    ]
    if not weights:
        raise Invalid(
            "StepCannotApply",
            "the model has no trainable weight variables (it is frozen); start from a model saved with its variables, "
            "or leave the step out",
            field=field,
        )
    excluded = _excluded((variables[position].name for position in weights), step.exclude_layers, field)
    return [position for position in weights if variables[position].name not in excluded]


def _excluded(names: Iterable[str], patterns: tuple[str, ...], field: str) -> set[str]:
    known, excluded = list(names), set()
    for pattern in patterns:
        matched = {name for name in known if any(re.search(pattern, one) for one in layer_names(name))}
        if not matched:
            raise Invalid(
                "UnknownLayer",
                f"{pattern} matches no layer; there are {', '.join(name.split(':')[0] for name in known[:12])}",
                field=f"{field}.excludeLayers",
            )
        excluded |= matched
    return excluded


def _without_smallest(values: Array, share: float) -> Array:
    """True for all but the given share of the values, equal ones in order of place."""
    return _kept(values.reshape(-1), int(share * values.size)).reshape(values.shape)


def _below(values: dict[int, Array], threshold: float, limit: float) -> dict[int, Array]:
    flat = np.concatenate([value.reshape(-1) for value in values.values()])
    removed = min(int(np.count_nonzero(flat < threshold)), int(limit * flat.size))
    kept, masks, start = _kept(flat, removed), {}, 0
    for position, value in values.items():
        masks[position] = kept[start : start + value.size].reshape(value.shape)
        start += value.size
    return masks


def _kept(flat: Array, removed: int) -> Array:
    kept = np.ones(flat.size, bool)
    if removed:
        kept[np.argsort(flat, kind="stable")[:removed]] = False
    return kept
