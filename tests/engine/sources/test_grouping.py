"""Grouped convolutions of Keras run without the compiler that Keras asks for, and give the same numbers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from modelpress.api.errors import Invalid
from modelpress.api.source import Source
from modelpress.compress import model, source
from modelpress.compress.model import OpenedModel
from modelpress.compress.sources import grouping, soundness
from modelpress.telemetry.progress import Silent


def exported(path, model):
    kept = {"verbose": False} if isinstance(model, keras.Model) else {}
    model.export(str(path), **kept)
    return path


def a_net(library, layer, *shape):
    return library.Sequential([library.layers.Input(shape), layer, library.layers.Flatten()])


def group_by_group(rows, kernel, bias, groups):
    """What a grouped convolution is, in plain ones: Keras's own call needs XLA, which a server in this process ends."""
    parts = zip(np.split(rows, groups, -1), np.split(kernel, groups, -1), strict=True)
    whole = tf.concat([tf.nn.convolution(inputs, weights, padding="SAME") for inputs, weights in parts], -1)
    return np.reshape(whole + bias, (len(rows), -1))


@pytest.mark.parametrize("library", [keras, tf_keras])
@pytest.mark.parametrize("kind", ["Conv1D", "Conv2D"])
def test_keras_has_grouped_convolutions_compiled_which_they_do_without(tmp_path, library, kind):
    shape = (9, 4) if kind == "Conv1D" else (9, 9, 4)
    net = a_net(library, getattr(library.layers, kind)(6, 3, groups=2, padding="same"), *shape)
    path = exported(tmp_path / "m", net)
    asked = Source(uri=str(path))
    with pytest.raises(Invalid):
        soundness.require_trusted(path, asked)
    assert grouping.released(path) == 1
    assert grouping.released(path) == 0
    soundness.require_servable(path, asked)
    rows = np.random.default_rng(0).normal(size=(2, *shape)).astype("f4")
    opened = OpenedModel(path, ("serving_default",))
    (name,) = opened.signatures["serving_default"].inputs
    (found,) = opened.call("serving_default", {name: rows}).values()
    np.testing.assert_allclose(found, group_by_group(rows, *net.get_weights(), groups=2), atol=1e-5)


def test_in_a_keras_file_they_are_found_whatever_their_functions_are_called_after_the_export(tmp_path):
    a_net(keras, keras.layers.Conv2D(6, 3, groups=2), 9, 9, 4).save(tmp_path / "m.keras")
    (tmp_path / "m").mkdir()
    source.write_float32(source.find(Source(uri=str(tmp_path / "m.keras"))), tmp_path / "m", progress=Silent())
    assert grouping.released(tmp_path / "m") == 1
    assert not {"_noinline", grouping.COMPILED} & {
        name for one in model.meta_graph(tmp_path / "m").graph_def.library.function for name in one.attr
    }
    soundness.require_servable(tmp_path / "m", Source(uri="m.keras"))


def test_those_of_three_dimensions_are_refused_with_their_own_cure(tmp_path):
    path = exported(tmp_path / "m", a_net(keras, keras.layers.Conv3D(4, 3, groups=2), 5, 5, 5, 4))
    assert grouping.released(path) == 0
    with pytest.raises(Invalid) as refused:
        soundness.require_servable(path, Source(uri=str(path)))
    assert refused.value.reason == "NeedsXla"
    assert "build each of them of a Conv3D for every group and a Concatenate" in refused.value.message
    assert "jax2tf" not in refused.value.message
