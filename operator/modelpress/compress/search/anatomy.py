"""What a net and its data are, as far as it decides how it can be made smaller and how it is to learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from modelpress.compress.bench import Bench


class Net(NamedTuple):
    """Facts about a source and its training data."""

    is_normalised: bool = False
    """Whether layers are normalised by statistics of batches, so that they bear large steps."""
    blocks: int = 0
    """Equal ones in a row, where most of those that repeat are in it, as in encoders; stages of a convolutional net are
    several rows, and lose more by a block than by filters."""
    updates: int = 0
    """Of an epoch; 0: not known."""


def of(bench: Bench) -> Net:
    """Read from the graph of the source; what cannot be one graph has no blocks."""
    from modelpress.compress import graph
    from modelpress.compress.steps.students import blocks, flat

    rows = len(bench.examples.sets["training"].rows)
    updates = max(1, rows // bench.request.recipe.training.batch_size)
    with bench.progress.step("Looking for blocks that repeat"):
        try:
            known = bench.versions.known(bench.versions.after(()))
            frozen = known.once("graph", lambda: graph.freeze(bench.opened, merge_weights=False))
        except graph.NotFreezable:
            return Net(updates=updates)
        found = blocks.runs(frozen.graph, list(flat.variables(bench.opened, frozen)))
    averages = any("moving_variance" in variable.name for variable in bench.opened.variables())
    is_normalised = averages or any(node.op.startswith("FusedBatchNorm") for node in frozen.graph.node)
    counts = [len(run.blocks) for run in found]
    longest = max(counts, default=0)
    return Net(is_normalised, longest if 2 * longest > sum(counts) else 0, updates)
