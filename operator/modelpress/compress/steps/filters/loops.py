"""Kernels that loops and other functions of a graph compute with: no channel is followed there, so they stay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from modelpress.compress.steps.filters.channels import describe

SHOWN = 5
"""Kernels that a warning names."""
_PASSING = ("Cast", "Identity", "Reshape", "Transpose")
"""Operations between a kernel and the loop that hears it."""
_ENTRANCES = ("Enter", "RefEnter")
"""Of loops that are no functions, as TensorFlow 1 has them."""


def kernels(graph: Any) -> dict[str, str]:
    """Constants of two axes or more that something with a function for an attribute reads -> why they stay.

    Those inside a function, too, by the name that they have there.
    """
    nodes = {node.name: node for node in graph.node}
    found = {
        name: f"{describe(node)} computes with it, which no filter is followed into"
        for node in graph.node
        if node.op in _ENTRANCES or any(value.HasField("func") for value in node.attr.values())
        for name in _heard(nodes, node)
    }
    for function in graph.library.function:
        why = f"it is inside {function.signature.name}, which no filter is followed into"
        found |= {node.name: why for node in function.node_def if _is_kernel(node)}
    return found


def warning(graph: Any, names: Mapping[str, str]) -> str | None:
    """Names what stayed, and how many weights it holds, with the cure; None where nothing did."""
    if not names:
        return None
    shown = sorted(names)[:SHOWN]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    inside = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    held = sum(math.prod(_shape(node)) for node in inside if node.name in names and _is_kernel(node))
    them = "them" if len(names) > 1 else "it"
    return (
        f"prune: {', '.join(shown)}{more} ({held:,} weights) stayed whole: a loop or function computes with {them}, as "
        f"in recurrent layers, and filters are removed outside of these only; quantize makes {them} smaller, or "
        "distill into a narrower model of yours (student.uri)"
    )


def _heard(nodes: Mapping[str, Any], node: Any) -> Iterator[str]:
    for name in node.input:
        source = nodes.get(name.split(":")[0])
        while source is not None and source.op in _PASSING:
            source = nodes.get(source.input[0].split(":")[0])
        if source is not None and _is_kernel(source):
            yield source.name


def _is_kernel(node: Any) -> bool:
    is_float = node.op == "Const" and tf.as_dtype(node.attr["dtype"].type).is_floating
    return is_float and len(_shape(node)) > 1


def _shape(node: Any) -> list[int]:
    return [size.size for size in node.attr["value"].tensor.tensor_shape.dim]
