"""A graph run from layer to layer on batches of rows: what a layer gave is kept until the last that needs it has run.

On one thread, so that sums are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from modelpress.compress.dataset import Array
from modelpress.compress.steps.filters.channels import canonical
from modelpress.compress.steps.filters.products import Product, products

Batch = Mapping[str, Array]
"""Rows by the names of input tensors."""
ROWS, PARTS = 32, 8
"""Rows of a batch at most, and batches at least, as far as there are rows: some are held out."""
KEPT_BYTES = 256 * 2**20
"""What a layer hears, or gives, for all rows at most; more rows are left out."""
_INPUTS = ("Placeholder", "PlaceholderWithDefault")


class Playback:
    """A context manager: a session that computes tensors from what the layers passed before gave."""

    def __init__(self, graph: Any, batches: Sequence[Batch], layers: Sequence[Product]) -> None:
        """`layers`: those that will be passed, in order."""
        self._batches = batches
        self._last = _last_uses(graph, [layer.name for layer in layers])
        self._kept: dict[str, list[Array]] = {}
        self._session = _session(graph)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close()

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._batches)))

    def run(self, tensors: Sequence[str], batch: int, values: Mapping[str, Array] | None = None) -> list[Array]:
        """Tensors for a batch; `values` take the place of others, e.g. of constants."""
        fed = dict(self._batches[batch])
        fed |= {canonical(name): kept[batch] for name, kept in self._kept.items()}
        fed |= values or {}
        found: list[Array] = self._session.run([canonical(one) for one in tensors], fed)
        return found

    def keep(self, layer: str, results: list[Array]) -> None:
        """Goes on from what a layer gives, a result a batch; forgets what nothing needs any more."""
        self._kept[layer] = results
        self._kept = {name: kept for name, kept in self._kept.items() if self._last.get(name, layer) != layer}


def batches(graph: Any, rows: Batch, fixed: int | None = None) -> list[Batch]:
    """The rows in batches, as many as fit into memory; `fixed`: the number of rows that the graph was built for.

    None where there are fewer rows than that.
    """
    count = len(next(iter(rows.values())))
    if count < (fixed or 1):
        return []
    first = _part(rows, 0, fixed or 1)
    layers = heard_by(products(graph), graph, rows)
    held = sorted({tensor for layer in layers for tensor in (layer.data, layer.name)})
    with Playback(graph, [first], layers) as playback:
        widest = max((value.nbytes for value in playback.run(held, 0)), default=1) if held else 1
    most = max(1, min(count, KEPT_BYTES * (fixed or 1) // max(1, widest)))
    size = fixed or max(1, min(ROWS, most // PARTS))
    return [_part(rows, start, start + size) for start in range(0, max(most, size) - size + 1, size)]


def heard_by(layers: Sequence[Product], graph: Any, rows: Batch) -> list[Product]:
    """The layers that need no other inputs than these rows."""
    fed = {name.split(":")[0] for name in rows}
    deaf = {node.name for node in graph.node if node.op in _INPUTS} - fed
    for node in graph.node:
        if any(one.lstrip("^").split(":")[0] in deaf for one in node.input):
            deaf.add(node.name)
    return [layer for layer in layers if layer.name not in deaf]


def _part(rows: Batch, start: int, stop: int) -> Batch:
    return {name: value[start:stop] for name, value in rows.items()}


def _session(graph: Any) -> Any:
    """On one thread; the process keeps its own, which the first session would take from all training after it."""
    tf.config.list_logical_devices("CPU")
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, use_per_session_threads=True
    )
    config.graph_options.rewrite_options.disable_meta_optimizer = True  # each part of the graph runs a few times only
    with tf.Graph().as_default() as built:
        tf.graph_util.import_graph_def(graph, name="")
        return tf.compat.v1.Session(graph=built, config=config)


def _last_uses(graph: Any, stops: Sequence[str]) -> dict[str, str]:
    """Stop -> the last stop that needs it without another stop between."""
    inside = set(stops)
    needed: dict[str, frozenset[str]] = {}
    found: dict[str, str] = {}
    for node in graph.node:
        heard: set[str] = set()
        for name in node.input:
            source = name.lstrip("^").split(":")[0]
            heard |= {source} if source in inside else needed.get(source, frozenset())
        needed[node.name] = frozenset(heard)
        if node.name in inside:
            found |= dict.fromkeys(sorted(heard), node.name)
    return found
