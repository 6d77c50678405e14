"""What a net is made of, as far as it decides how it can be made smaller and how fast it may learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from modelpress.compress.bench import Bench


class Net(NamedTuple):
    """Facts about a source."""

    is_normalised: bool = False
    """Whether layers are normalised by statistics of batches, so that they bear large steps."""
    blocks: int = 0
    """Equal ones in the longest row."""


def of(bench: Bench) -> Net:
    """Read from the graph of the source; what cannot be one graph has neither."""
    from modelpress.compress import graph
    from modelpress.compress.steps.students import blocks, flat

    with bench.progress.step("Looking for blocks that repeat"):
        try:
            frozen = graph.freeze(bench.opened, merge_weights=False)
        except graph.NotFreezable:
            return Net()
        rows = blocks.runs(frozen.graph, list(flat.variables(bench.opened, frozen)))
    is_normalised = any(node.op.startswith("FusedBatchNorm") for node in frozen.graph.node)
    return Net(is_normalised, max((len(row.blocks) for row in rows), default=0))
