"""Without labels, what filters leave behind is solved for what it gave before."""

from __future__ import annotations

import numpy as np
import pytest

from modelpress.compress import graph
from modelpress.compress.dataset import Rows
from modelpress.compress.examples import Bound, Examples
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps.filters import equations, reconstruction

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


def test_weights_that_earlier_steps_fixed_stay_as_they_are(prune, nets):
    variables = OpenedModel(nets("normalised"), (SERVED,)).variables()
    kernels = [place for place, variable in enumerate(variables) if len(variable.shape) > 1]
    masks = {place: np.ones(variables[place].shape, bool) for place in kernels[1:2]}
    bare, solved = (
        prune("normalised", sparsity=0.3, at=name, examples=given, masks=masks)
        for name, given in (("bare", None), ("solved", calibrated(64, 12)))
    )
    sliced, fitted = (one.rebuilt.variables() for one in (bare, solved))
    changed = [not np.array_equal(sliced[place].numpy(), fitted[place].numpy()) for place in kernels]
    assert changed == [False, False, True], "the first hears what it heard, the second is fixed"


@pytest.mark.parametrize(("net", "side"), [("concatenated", 12), ("residual", 16)])
def test_least_squares_win_back_more_than_means_and_spreads(prune, net, side, monkeypatch):
    solved = prune(net, sparsity=0.2, at="solved", examples=calibrated(64, side))
    monkeypatch.setattr(reconstruction, "HELD_OUT", 100)  # without rows held out nothing else is trusted
    restored = prune(net, sparsity=0.2, at="restored", examples=calibrated(64, side))
    assert lost(solved, side) < 0.8 * lost(restored, side)


def test_layers_with_very_many_inputs_get_their_means_and_spreads_back(prune, monkeypatch):
    monkeypatch.setattr(equations, "WIDEST", 30)
    bare, restored = (
        prune("normalised", sparsity=0.3, criterion=criterion, at=criterion, examples=given)
        for criterion, given in (("Magnitude", None), ("Reconstruction", calibrated(64, 12)))
    )
    assert lost(restored, 12) < 0.5 * lost(bare, 12)
