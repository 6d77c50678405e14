"""A threshold that suits one layer may remove another: told where it mattered, and only there."""

from __future__ import annotations

import numpy as np

from modelpress.compress.steps import emptied, importance

NAMES = {0: "stem", 1: "body", 2: "depthwise"}


def told(threshold, limit=1.0, **layers):
    """The warning for kernels by name."""
    names = dict(enumerate(layers))
    values = {place: layers[name].astype(np.float32) for place, name in names.items()}
    return emptied.warning(emptied.found(names, values, importance.below(values, threshold, limit)), threshold)


def kernel(size, *shape):
    return np.random.default_rng(0).normal(0, size, shape)


def test_a_layer_that_loses_every_weight_is_named_with_the_cure():
    assert told(0.01, stem=kernel(0.001, 3, 3, 3, 8), body=kernel(0.1, 3, 3, 8, 8)) == (
        "prune: threshold 0.01 removes all of stem: nothing of what they computed is left; "
        "lower threshold or maxSparsity, or name these layers in excludeLayers"
    )


def test_a_cap_that_is_reached_before_the_layer_is_gone_leaves_nothing_to_tell():
    assert told(0.01, 0.1, stem=kernel(0.001, 3, 3, 3, 8), body=kernel(0.1, 3, 3, 8, 8)) is None


def test_channels_that_mattered_are_counted_and_dead_ones_are_not():
    body = kernel(0.02, 3, 3, 8, 10)
    body[..., :3] *= 1e-6
    assert told(0.001, body=body) is None, "what was dead before is not missed"
    body[..., 3:5] *= 0.2
    assert "removes 2 of 10 channels of body" in told(0.02, body=body)


def test_a_channel_in_many_is_what_pruning_is_for():
    wide = kernel(0.02, 8, 40)
    wide[:, 0] *= 0.2
    assert told(0.015, wide=wide) is None
    assert "removes 1 of 8 channels of narrow" in told(0.015, narrow=wide[:, :8])


def test_channels_of_a_depthwise_kernel_are_its_inputs():
    depthwise = kernel(0.1, 3, 3, 8, 1)
    depthwise[:, :, 2] *= 0.2
    assert "removes 1 of 8 channels of depthwise" in told(0.06, depthwise=depthwise)


def test_zeros_that_were_there_before_are_nobodys_fault():
    assert told(0.01, head=np.zeros((4, 2)), body=kernel(1, 4, 64)) is None


def test_many_layers_are_told_in_one_sentence_the_worst_first():
    layers = {f"layer{number}": kernel(0.001, 4, 8) for number in range(7)}
    layers["layer3"][:, 0] = 0.11
    said = told(0.1, **layers)
    assert "removes all of layer0, all of layer1, all of layer2, all of layer4, all of layer5 and channels of 2" in said
