"""The variables of an opened model as steps see them: names, layers, which of them hold weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelpress.api.errors import Invalid
from modelpress.compress.dataset import Array


def trainable(variables: Sequence[Any], field: str) -> dict[int, Any]:
    """Position -> trainable variable. Raises Invalid `StepCannotApply` where there is none."""
    found = {position: variable for position, variable in enumerate(variables) if variable.trainable}
    if not found:
        raise Invalid(
            "StepCannotApply", "the model has no trainable variables (it is frozen); leave the step out", field=field
        )
    return found


def names(variables: Sequence[Any]) -> dict[int, str]:
    """Position -> readable name."""
    return {position: variable.name.split(":")[0] for position, variable in enumerate(variables)}


def chosen(variables: Sequence[Any], patterns: tuple[str, ...], *, field: str) -> dict[int, Any]:
    """Position -> variable, for all kernels and tables but those of excluded layers; biases and norms are none.

    `field` is the step's; raises Invalid `StepCannotApply`, `UnknownLayer`.
    """
    weights = {
        position: variable
        for position, variable in enumerate(variables)
        if variable.trainable and variable.dtype.is_floating and len(variable.shape) >= 2
    }
    if not weights:
        raise Invalid(
            "StepCannotApply",
            "the model has no trainable weight variables (it is frozen); start from a model saved with its variables, "
            "or leave the step out",
            field=field,
        )
    excluded = _excluded([variable.name for variable in weights.values()], patterns, field)
    return {position: variable for position, variable in weights.items() if variable.name not in excluded}


def layer_names(variable_name: str) -> tuple[str, ...]:
    """Names that an expression may match: the variable's path, with and without the model's own name in front."""
    path = variable_name.split(":")[0]
    return path, path.partition("/")[2]


def _excluded(known: list[str], patterns: Iterable[str], field: str) -> set[str]:
    excluded: set[str] = set()
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


def joined_masks(first: Mapping[int, Array], second: Mapping[int, Array]) -> dict[int, Array]:
    """Masks under which both hold."""
    found = {**first, **second}
    return found | {place: first[place] & second[place] for place in first if place in second}
