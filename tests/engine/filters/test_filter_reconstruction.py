"""Without labels, what filters leave behind is solved for what it gave before."""

from __future__ import annotations

import numpy as np
import pytest

from modelpress.compress import graph
from modelpress.compress.dataset import Rows
from modelpress.compress.examples import Bound, Examples

SERVED = "serving_default"


def images(rows, side, seed=0):
    return {"image": np.random.default_rng(seed).normal(size=(rows, side, side, 3)).astype("f4")}


def calibrated(rows, side):
    return Examples({"calibration": Bound(SERVED, Rows(images(rows, side), {}, digest=""))})


def lost(done, side):
    """Mean square of what the outputs for other rows lost, against their variance."""
    rows = images(128, side, seed=1)
    (source,), (rebuilt,) = (list(one.call(SERVED, rows).values()) for one in (done.source, done.rebuilt))
    return float(((source - rebuilt) ** 2).mean() / source.var())


@pytest.mark.parametrize(("net", "side"), [("normalised", 12), ("residual", 16), ("concatenated", 12)])
def test_rows_without_labels_win_back_most_of_what_removing_filters_loses(prune, net, side):
    bare = prune(net, sparsity=0.3, at="bare")
    solved = prune(net, sparsity=0.3, at="solved", examples=calibrated(64, side))
    assert "solved by least squares on 64 rows" in solved.changed.note
    assert "solved" not in bare.changed.note
    assert lost(solved, side) < 0.25 * lost(bare, side)


def test_nothing_is_added_where_a_bias_or_a_normalisation_follows(prune):
    bare, solved = (
        prune("normalised", sparsity=0.3, at=name, examples=given)
        for name, given in (("bare", None), ("solved", calibrated(64, 12)))
    )
    kinds = [sorted(node.op for node in graph.freeze(one.rebuilt).graph.node) for one in (bare, solved)]
    assert kinds[0] == kinds[1]
    shapes = [[variable.shape for variable in one.rebuilt.variables()] for one in (bare, solved)]
    assert shapes[0] == shapes[1]


def test_the_same_rows_give_the_same_weights(prune):
    first, second = (
        prune("residual", sparsity=0.2, at=name, examples=calibrated(16, 16)).rebuilt.variables() for name in "ab"
    )
    assert all(np.array_equal(one.numpy(), other.numpy()) for one, other in zip(first, second, strict=True))
