"""Inner tensors of a flat graph by the name of the layer that gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelpress.api.errors import Invalid

_SHOWN = 12


def output(graph: Any, layer: str, weights: Mapping[str, str], *, field: str) -> str:
    """The node that gives a layer's output: the last one of the layer that others read.

    A layer is known by its weights (`conv5/kernel`), by its place in the paths of nodes, or by the name of a node.
    `weights`: nodes that give weights -> their names. Raises Invalid `UnknownLayer`.
    """
    nodes = {node.name: node for node in graph.node}
    if layer in nodes:
        return layer
    readers = [node.name for node in graph.node if any(_owner(weights[name]) == layer for name in _read(node, weights))]
    scopes = {_scope(name, layer) for name in readers}
    inside = [name for name in _fed(graph) if _is_inside(name, scopes, layer)]
    read = {name: {node.name for node in graph.node if name in _inputs(node)} for name in inside}
    ends = [name for name in inside if read[name] - set(inside)] or readers
    if not ends:
        known = sorted({_owner(name) for name in weights.values()})
        raise Invalid(
            "UnknownLayer",
            f"there is no layer {layer}; layers with weights are {', '.join(known[:_SHOWN])}"
            + (" ..." if len(known) > _SHOWN else ""),
            field=field,
        )
    return str(ends[-1])


def _fed(graph: Any) -> list[str]:
    """Nodes that depend on inputs of the model, in topological order."""
    found: dict[str, None] = {}
    for node in graph.node:
        if node.op == "Placeholder" or any(name in found for name in _inputs(node)):
            found[node.name] = None
    return list(found)


def _owner(weight: str) -> str:
    return weight.rpartition("/")[0]


def _inputs(node: Any) -> list[str]:
    return [name.lstrip("^").partition(":")[0] for name in node.input]


def _read(node: Any, weights: Mapping[str, str]) -> list[str]:
    return [name for name in _inputs(node) if name in weights]


def _scope(name: str, layer: str) -> str:
    """The path of a node up to the part that is the layer's name, which Keras may number; empty without such a part."""
    last = re.escape(layer.rpartition("/")[2])
    found = re.search(rf"^(.*/)?{last}(_\d+)?/", name)
    return found.group(0) if found else ""


def _is_inside(name: str, scopes: set[str], layer: str) -> bool:
    known = [scope for scope in scopes if scope]
    return any(name.startswith(scope) for scope in known) if known else f"/{layer}/" in f"/{name}"
