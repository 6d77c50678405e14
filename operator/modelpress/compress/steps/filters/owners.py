"""Which variable a constant of the frozen graph was."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import tensorflow as tf

from modelpress.compress.graph import FrozenGraph
from modelpress.compress.model import OpenedModel


@dataclasses.dataclass(frozen=True)
class Owner:
    """The variable that a constant of the frozen graph was."""

    position: int
    trainable: bool


def of(opened: OpenedModel, frozen: FrozenGraph) -> dict[str, Owner]:
    """Constant -> its variable; variables of equal names, which freezing numbers, are told apart by their values."""
    variables = opened.variables()
    known: dict[str, list[int]] = {}
    for position, variable in enumerate(variables):
        known.setdefault(variable.name.split(":")[0], []).append(position)
    found = {}
    for node in frozen.graph.node:
        name = node.name if node.name in known else re.sub(r"_\d+$", "", node.name)
        if node.op == "Const" and name in known:
            value = tf.make_ndarray(node.attr["value"].tensor) if len(known[name]) > 1 else None
            position = next(
                place for place in known[name] if value is None or np.array_equal(variables[place].numpy(), value)
            )
            found[node.name] = Owner(position, bool(variables[position].trainable))
    return found
