"""Repeated blocks of a network (encoder layers, residual blocks), found in its graph; some of them taken out.

A tensor through which all data must flow cuts the graph in two. Between such cuts lie segments; where the same
sequence of segments comes several times and its input has the shape of its output, it is a block, and the graph
without it is whole again.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

_PURE = ("Const", "Placeholder")
_JOINING = 8
"""Nodes at the end of a graph that may read every block."""


class Segment(NamedTuple):
    """What lies between two neighbouring cuts."""

    start: str
    """Node whose output goes in."""
    end: str
    """Node whose output comes out."""
    likeness: tuple[Any, ...]
    """Equal for segments that compute alike: operations, and shapes of weights and of the output."""
    weights: int
    """Values of its weights."""
    shapes: tuple[Any, Any]
    """Type and shape of what goes in and of what comes out."""


class Run(NamedTuple):
    """Equal blocks, one after the other."""

    blocks: tuple[tuple[str, str], ...]
    """(start, end) of each, in order; a block's start is the end of the one before."""


def runs(graph: Any, weights: Sequence[str]) -> list[Run]:
    """All runs of two or more equal blocks; `weights` are names of constants. Input order of the graph is kept.

    Where what comes last reads the output of every block, as a head over all layers of an encoder, nothing cuts the
    graph: then they are looked for in what one of its operands needs.
    """
    found = _runs(_segments(graph, set(weights)))
    if found:
        return found
    parts = (_runs(_segments(_needed(graph, [end]), set(weights))) for end in _last_operands(graph, set(weights)))
    return max(parts, key=lambda part: sum(len(run.blocks) for run in part), default=[])


def kept(count: int, share: float) -> tuple[int, ...]:
    """Which of `count` blocks stay: evenly spaced, first and last among them (as DistilBERT takes every other)."""
    staying = max(1, round(share * count))
    return tuple(int(place) for place in np.unique(np.linspace(0, count - 1, staying).round())) if staying > 1 else (0,)


def without(graph: Any, dropped: Sequence[tuple[str, str]]) -> Any:
    """The graph with these blocks taken out: who read their end reads what went into their start."""
    replaced = {end: start for start, end in dropped}

    def source(name: str) -> str:
        node, _, index = name.partition(":")
        while node in replaced:
            node = replaced[node]
        return f"{node}:{index}" if index else node

    changed = graph_pb2.GraphDef(versions=graph.versions, library=graph.library)
    for node in graph.node:
        copied = changed.node.add()
        copied.CopyFrom(node)
        copied.input[:] = [source(name) for name in node.input]
    return _needed(changed, [node.name for node in graph.node if _is_end(node)])


def _is_end(node: Any) -> bool:
    return bool(node.op == "Placeholder" or node.name.startswith("outputs/"))


def _needed(graph: Any, ends: Sequence[str]) -> Any:
    nodes = {node.name: node for node in graph.node}
    needed, waiting = set(ends), list(ends)
    while waiting:
        for name in _inputs(nodes[waiting.pop()]):
            if name not in needed:
                needed.add(name)
                waiting.append(name)
    smaller = graph_pb2.GraphDef(versions=graph.versions, library=graph.library)
    smaller.node.extend(node for node in graph.node if node.name in needed)
    return smaller


def _inputs(node: Any) -> list[str]:
    return [name.lstrip("^").partition(":")[0] for name in node.input]


def _segments(graph: Any, weights: set[str]) -> list[Segment]:
    nodes = {node.name: node for node in graph.node}
    flow = _flow(graph, weights)
    places = {name: place for place, name in enumerate(flow)}
    cuts = _cuts(graph, flow, places)
    shapes = _shapes(graph, cuts)
    found = []
    for start, end in itertools.pairwise(cuts):
        inner = [nodes[name] for name in flow[places[start] + 1 : places[end] + 1]]
        read = [
            tuple(size.size for size in nodes[name].attr["value"].tensor.tensor_shape.dim)
            for node in inner
            for name in _inputs(node)
            if name in weights
        ]
        likeness = (tuple(sorted(node.op for node in inner)), tuple(sorted(read)), shapes[end])
        found.append(
            Segment(start, end, likeness, sum(int(np.prod(shape)) for shape in read), (shapes[start], shapes[end]))
        )
    return found


def _last_operands(graph: Any, weights: set[str]) -> list[str]:
    """Of the last nodes that join parts of the flow, each one's operand that needs most; the last node first."""
    flow = _flow(graph, weights)
    places = {name: place for place, name in enumerate(flow)}
    joining = [found for node in graph.node if len(found := [one for one in _inputs(node) if one in places]) > 1]
    return list(dict.fromkeys(max(found, key=places.__getitem__) for found in reversed(joining[-_JOINING:])))


def _flow(graph: Any, weights: set[str]) -> list[str]:
    """Nodes that depend on inputs and on weights, in topological order."""
    on_inputs: set[str] = set()
    on_weights: set[str] = set(weights)
    flow = []
    for node in graph.node:
        read = _inputs(node)
        if node.op == "Placeholder" or any(name in on_inputs for name in read):
            on_inputs.add(node.name)
        if any(name in on_weights for name in read):
            on_weights.add(node.name)
        if node.op not in _PURE and node.name in on_inputs and node.name in on_weights:
            flow.append(node.name)
    return flow


def _cuts(graph: Any, flow: Sequence[str], places: Mapping[str, int]) -> list[str]:
    """Nodes of the flow that no edge of the flow jumps over, and of which only the first output is read."""
    farthest = [-1] * len(flow)
    several: set[str] = set()
    reads_flow: set[str] = set()
    for node in graph.node:
        for name in node.input:
            source, _, index = name.lstrip("^").partition(":")
            if source not in places:
                continue
            if index not in ("", "0") or name.startswith("^"):
                several.add(source)
            reads_flow.add(node.name)
            farthest[places[source]] = max(farthest[places[source]], places.get(node.name, len(flow)))
    sources = [place for place, name in enumerate(flow) if name not in reads_flow]
    cuts, reach = [], max(sources, default=-1)
    for place, name in enumerate(flow):
        if reach <= place and name not in several:
            cuts.append(name)
        reach = max(reach, farthest[place] if farthest[place] >= 0 else len(flow))
    return cuts


def _shapes(graph: Any, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Type and static shape of first outputs."""
    with tf.Graph().as_default() as built:
        tf.graph_util.import_graph_def(graph, name="")
        tensors = {name: built.get_tensor_by_name(f"{name}:0") for name in names}
        return {
            name: (tensor.dtype.name, None if tensor.shape.rank is None else tuple(tensor.shape.as_list()))
            for name, tensor in tensors.items()
        }


def _runs(segments: Sequence[Segment]) -> list[Run]:
    best: tuple[int, int, int, int] | None = None
    for period in range(1, len(segments) // 2 + 1):
        for first in range(len(segments) - 2 * period + 1):
            count = _repeats(segments, first, period)
            covered = sum(one.weights for one in segments[first : first + period * count]) if count > 1 else 0
            if covered and (best is None or (covered, -period, -first) > (best[0], -best[1], -best[2])):
                best = (covered, period, first, count)
    if best is None:
        return []
    _, period, first, count = best
    blocks = tuple(
        (segments[first + period * turn].start, segments[first + period * (turn + 1) - 1].end) for turn in range(count)
    )
    return [*_runs(segments[:first]), Run(blocks), *_runs(segments[first + period * count :])]


def _repeats(segments: Sequence[Segment], first: int, period: int) -> int:
    """How often the sequence from `first` on comes one after the other; 0 where its input differs from its output."""
    if segments[first].shapes[0] != segments[first + period - 1].shapes[1]:
        return 0
    pattern = [one.likeness for one in segments[first : first + period]]
    count = 1
    while [one.likeness for one in segments[first + period * count : first + period * (count + 1)]] == pattern:
        count += 1
    return count
