"""Training that rounds what int8 will round: the net that is served does better than one that is only rounded."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from modelpress.api.errors import Invalid
from modelpress.api.recipe import FineTune, Quantize, Training
from modelpress.compress import flatbuffer, graph, tflite
from modelpress.compress.dataset import Rows
from modelpress.compress.examples import Bound, Examples
from modelpress.compress.model import OpenedModel
from modelpress.compress.quantization import annotation, layers, rounding, scheme, training
from modelpress.compress.quantization.comparison import Loss
from modelpress.compress.quantization.scheme import Float
from modelpress.compress.steps import fine_tune
from modelpress.compress.steps.step import Setting
from modelpress.telemetry.progress import Silent

SERVED = "serving_default"
FIELD = "spec.recipe.steps[0].quantize"
WIDTH = 24


class _Digits(tf.Module):
    """Three dense layers for handwritten digits."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(0)
        for name, inputs, outputs in (("first", 64, WIDTH), ("second", WIDTH, WIDTH), ("third", WIDTH, 10)):
            values = random.normal(size=(inputs, outputs)) * 1.4 / inputs**0.5
            setattr(self, name, tf.Variable(values.astype("f4"), name=f"{name}/kernel"))

    @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, "x")])
    def scores(self, x):
        return {"scores": tf.nn.relu(tf.nn.relu(x @ self.first) @ self.second) @ self.third}


class _Loop(tf.Module):
    """A layer whose values go round in a loop."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.eye(4), name="dense/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def scores(self, x):
        hidden = x @ self.kernel
        for _ in tf.range(tf.shape(x)[0]):
            hidden = tf.nn.relu(hidden)
        return {"scores": hidden}


def saved(module, path):
    tf.saved_model.save(module, str(path), signatures={SERVED: module.scores})
    return path


@pytest.fixture(scope="module")
def rows():
    """(training, evaluation)."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    inputs, labels = (data.data[order] / 16).astype("f4"), data.target[order].astype("i4")
    whole = Rows({"x": inputs}, {"scores": labels}, "sha256:0")
    return whole.part(0, 1200), whole.part(1200)


def setting(path, bound):
    return Setting(
        examples=Examples({"training": Bound(SERVED, bound)}),
        training=Training(batch_size=64),
        field=FIELD,
        checkpoints=path / "checkpoints",
        logs=path / "logs",
        replacement=path / "replacement",
        progress=Silent(),
    )


@pytest.fixture(scope="module")
def source(rows, tmp_path_factory):
    """Opens a net whose channels differ by up to 100 times, for which each next layer makes up: few show in int8."""
    path = saved(_Digits(), tmp_path_factory.mktemp("digits") / "1")
    opened = OpenedModel(path, (SERVED,))
    step = FineTune(epochs=12, learning_rate=0.005)
    fine_tune.apply(opened, step, setting(tmp_path_factory.mktemp("training"), rows[0]))
    random = np.random.default_rng(3)
    scales = [random.permutation(np.geomspace(1, 100, WIDTH)).astype("f4") for _ in range(2)]
    first, second, third = (variable.numpy() for variable in opened.variables())
    wide = [first * scales[0], second / scales[0][:, None] * scales[1], third / scales[1][:, None]]

    def make():
        found = OpenedModel(path, (SERVED,))
        for variable, value in zip(found.variables(), wide, strict=True):
            variable.assign(value)
        return found

    return make


@pytest.fixture(scope="module")
def right(rows):
    """Share of evaluation rows that a model gets right once it is static int8."""

    def measure(opened, learnt, **fields):
        names = layers.variable_layers(graph.freeze(opened).graph, [one.name for one in opened.variables()])
        batches = [{"x": row[None]} for row in rows[0].inputs["x"][:128]]
        calibration = scheme.Calibration(SERVED, batches, Loss(0.01, 0.02))
        original = Float(tflite.convert(opened, "Float32"), names, learnt)
        step = Quantize(scheme="StaticInt8", **fields)
        content = scheme.quantized(original, step, calibration, field=FIELD).content
        found = tflite.Interpreter(content).call(SERVED, rows[1].inputs)["scores"].argmax(axis=1)
        return float((found == rows[1].targets["scores"]).mean())

    return measure


@pytest.fixture(scope="module")
def trained(source, rows, tmp_path_factory):
    def run(epochs=6, **fields):
        opened = source()
        step = Quantize(epochs=epochs, learning_rate=0.003, **fields)
        return opened, training.apply(opened, step, setting(tmp_path_factory.mktemp("training"), rows[0]))

    return run


@pytest.mark.parametrize("fields", [{}, {"granularity": "PerTensor"}])
def test_a_net_that_learnt_with_rounded_activations_does_better_as_int8(source, trained, right, fields):
    plain = right(source(), {}, **fields)
    # Mixed may leave activations to each request, so that only kernels are rounded while it trains.
    kernels, changed = trained(scheme="Mixed", **fields)
    only_kernels = right(kernels, changed.ranges, **fields)
    opened, changed = trained(scheme="StaticInt8", **fields)
    assert changed.note.startswith("quantize: 3 kernels and 4 activations trained as int8, ")
    both = right(opened, changed.ranges, **fields)
    assert both > plain + 0.03
    assert both > only_kernels


def test_the_same_training_gives_the_same_weights_and_ranges(trained):
    (first, changed), (second, again) = (trained(scheme="StaticInt8", epochs=1) for _ in range(2))
    assert changed.ranges == again.ranges
    for one, other in zip(first.variables(), second.variables(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_kernels_end_as_the_values_that_they_were_rounded_to(trained):
    opened, _ = trained(scheme="StaticInt8", epochs=1)
    for variable in opened.variables():
        np.testing.assert_allclose(rounding.rounded(variable, (1,)), variable, rtol=1e-5)


def test_ranges_begin_as_they_are_and_hold_zero(trained, rows):
    _, changed = trained(scheme="StaticInt8", epochs=1)
    assert all(low <= 0 <= high for low, high in changed.ranges.values())
    low, high = changed.ranges["x"]
    assert low == 0
    assert 0.9 < high <= rows[0].inputs["x"].max()


def test_activations_are_rounded_where_the_quantizer_rounds_them(network, network_float, images):
    places = annotation.annotated(graph.freeze(network).graph, symmetric=False).places
    calibration = scheme.Calibration(SERVED, images, Loss(0.01, 0.02))
    content = scheme.quantized(network_float, Quantize(scheme="StaticInt8"), calibration, field=FIELD).content
    served = flatbuffer.parsed(content)
    integers = {
        tensor.name.decode()
        for tensor in served.subgraphs[0].tensors
        if tensor.type == flatbuffer.schema.TensorType.INT8 and served.buffers[tensor.buffer].data is None
    }
    grids = {
        (tuple(tensor.quantization.scale), tuple(tensor.quantization.zeroPoint))
        for tensor in served.subgraphs[0].tensors
        if tensor.name.decode() in integers
    }
    # The softmax at the end has a grid of its own that never changes.
    assert len(places) == len(grids) - 1
    ends = ["stem/Relu", "norm/batchnorm/add_1", "re_lu/Relu", "hidden/Relu", "classes/BiasAdd"]
    names = [re.sub(r"(_\d+)+/", "/", place.tensor) for place in places[1:]]  # Keras numbers the layers of a process
    assert [name.split("/", 3)[-1] for name in names] == ends


def test_symmetric_activations_are_rounded_around_zero(network):
    wanted = annotation.annotated(graph.freeze(network).graph, symmetric=True)
    assert wanted.symmetric
    rounding_nodes = [node for node in wanted.graph.node if node.name.endswith("/rounded")]
    assert len(rounding_nodes) == len(wanted.places)
    assert all(node.attr["narrow_range"].b for node in rounding_nodes)


def test_a_loop_is_refused_with_its_place_and_a_cure(tmp_path, rows):
    opened = OpenedModel(saved(_Loop(), tmp_path / "loop"), (SERVED,))
    step = Quantize(scheme="StaticInt8", epochs=1)
    with pytest.raises(Invalid, match=r"quantize: .* is a (Stateless)?While, in which .* set epochs to 0") as refused:
        training.apply(opened, step, setting(tmp_path, rows[0]))
    assert refused.value.reason == "StepCannotApply"
