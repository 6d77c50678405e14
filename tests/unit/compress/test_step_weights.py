"""Which variables `prune` and `cluster` change: kernels and tables, never what is added to them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from modelpress.api.errors import Invalid
from modelpress.compress.training import weights


def variable(name, *shape, trainable=True):
    return SimpleNamespace(name=f"{name}:0", shape=shape, trainable=trainable, dtype=SimpleNamespace(is_floating=True))


def names(*variables):
    return [
        one.name
        for one in weights.chosen(variables, range(len(variables)), (), field="spec.recipe.steps[0].prune").values()
    ]


@pytest.mark.parametrize(
    "bias",
    [
        variable("gru/gru_cell/bias", 2, 96),
        variable("bidirectional/backward_gru/gru_cell/bias", 2, 96),
        variable("attention/query/bias", 4, 16),
        variable("net/dense/biases_1", 1, 8),
        variable("net/item_bias", 900, 1),
        variable("dense/bias", 8),
    ],
    ids=lambda bias: bias.name,
)
def test_biases_are_left_alone_whatever_their_rank(bias):
    assert names(variable("gru/gru_cell/kernel", 8, 96), bias) == ["gru/gru_cell/kernel:0"]


@pytest.mark.parametrize("name", ["gru/gru_cell/recurrent_kernel", "attention/position_bias_table", "unbiased/kernel"])
def test_what_is_multiplied_is_chosen(name):
    assert names(variable(name, 8, 96)) == [f"{name}:0"]


def test_a_model_of_biases_alone_has_no_weights():
    with pytest.raises(Invalid, match="no trainable weight variables"):
        names(variable("item_bias", 900, 1), variable("kernel", 8, 8, trainable=False))
