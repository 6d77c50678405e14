"""The variables of an opened model as steps see them: names, layers, which of them hold weights."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from modelpress.api.errors import Invalid
from modelpress.compress import exclusion
from modelpress.compress.dataset import Array

_BIAS = re.compile(r"bias(es)?(_\d+)?$", re.IGNORECASE)


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


def chosen(
    variables: Sequence[Any], kernels: Collection[int], patterns: tuple[str, ...], *, field: str
) -> dict[int, Any]:
    """Position -> variable, for all kernels and tables but those of excluded layers; biases, norms and slopes are none.

    Rank alone does not tell: Keras gives a GRU a bias of rank 2 (one row for its inputs, one for its state), each head
    of attention a row of its own, and PReLU a slope for each channel of [1, 1, channels]. An expression may match such
    a layer, as nothing happens to it in any case.

    `kernels`: positions, as from `graph.kernels`. `field` is the step's; raises Invalid `StepCannotApply`,
    `UnknownLayer`.
    """
    arrays = {
        position: variable
        for position, variable in enumerate(variables)
        if variable.trainable and variable.dtype.is_floating and len(variable.shape) >= 2 and not is_bias(variable.name)
    }
    weights = {position: variable for position, variable in arrays.items() if position in kernels}
    if not weights:
        raise Invalid(
            "StepCannotApply",
            "the model has no trainable weight variables (it is frozen); start from a model saved with its variables, "
            "or leave the step out",
            field=field,
        )
    names = {variable.name: layer_names(variable.name) for variable in arrays.values()}
    known = ", ".join(variable.name.split(":")[0] for variable in list(weights.values())[: exclusion.SHOWN])
    gaining = [variable.name for variable in weights.values()]
    excluded = exclusion.matching(names, patterns, field=field, known=known, gaining=gaining)
    return {position: variable for position, variable in weights.items() if variable.name not in excluded}


def is_bias(variable_name: str) -> bool:
    """Whether a variable's name says that it is added, e.g. `gru/gru_cell/bias:0`, `dense/biases_1`, `item_bias`."""
    return _BIAS.search(variable_name.split(":")[0]) is not None


def layer_names(variable_name: str) -> tuple[str, ...]:
    """Names that an expression may match: the variable's path, with and without the model's own name in front."""
    path = variable_name.split(":")[0]
    return path, path.partition("/")[2]


def joined_masks(first: Mapping[int, Array], second: Mapping[int, Array]) -> dict[int, Array]:
    """Masks under which both hold."""
    found = {**first, **second}
    return found | {place: first[place] & second[place] for place in first if place in second}
