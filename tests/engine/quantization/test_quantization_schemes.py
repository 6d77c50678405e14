"""Each scheme keeps names, batch and float32 at the ends, saves what it promises, and leaves excluded layers alone."""

from __future__ import annotations

import numpy as np
import pytest

from modelpress.api.errors import Invalid
from modelpress.api.gate import Gate
from modelpress.api.recipe import Quantize
from modelpress.compress import flatbuffer, tflite
from modelpress.compress.quantization import ranges, rewriting, rounding, scheme, tolerance
from modelpress.compress.quantization.comparison import Comparison, Loss
from modelpress.compress.quantization.precision import Assignment

FIELD = "spec.recipe.steps[0].quantize"
SERVED = "serving_default"


@pytest.fixture(scope="session")
def calibration(images):
    return scheme.Calibration(SERVED, images, Loss(0.01, 0.02))


@pytest.fixture(scope="session")
def quantized(network_float, calibration):
    """Quantizes the net under the fields of a quantize step."""

    def run(**fields):
        return scheme.quantized(network_float, Quantize.model_validate(fields), calibration, field=FIELD)

    return run


@pytest.mark.parametrize(
    ("name", "size", "lost"),
    [("DynamicInt8", 0.29, 0.01), ("StaticInt8", 0.30, 0.01), ("Int4Weights", 0.17, 0.10), ("Mixed", 0.30, 0.01)],
)
def test_a_scheme_saves_bytes_loses_little_and_keeps_names_and_batch(
    quantized, network_float, images, name, size, lost
):
    content = quantized(scheme=name).content
    assert len(content) <= size * len(network_float.content)
    assert Comparison(network_float.content, SERVED, images).of(content).variance <= lost
    assert flatbuffer.read_signatures(content) == flatbuffer.read_signatures(network_float.content)
    many = np.concatenate([one["image"] for one in images[:5]])
    found = tflite.Interpreter(content).call(SERVED, {"image": many})["output_0"]
    assert found.shape == (5, 4)
    assert found.dtype == np.float32
    alone = tflite.Interpreter(content).call(SERVED, images[3])["output_0"]
    np.testing.assert_allclose(found[3:4], alone, atol=1e-6)


def test_equal_inputs_give_equal_bytes(quantized):
    assert quantized(scheme="Mixed") == quantized(scheme="Mixed")


def kinds(content, kind):
    """(name of the result, type of the weights) of the operations of a kind."""
    model = flatbuffer.parsed(content)
    tensors = model.subgraphs[0].tensors
    for one in model.subgraphs[0].operators:
        code = model.operatorCodes[one.opcodeIndex].builtinCode
        if code == getattr(flatbuffer.schema.BuiltinOperator, kind):
            yield tensors[one.outputs[0]].name.decode(), tensors[one.inputs[1]].type


@pytest.mark.parametrize("name", ["DynamicInt8", "StaticInt8", "Int4Weights", "Mixed"])
def test_excluded_layers_keep_their_float32_weights(quantized, name):
    content = quantized(scheme=name, excludeLayers=["^hidden$", "stem"]).content
    types = flatbuffer.schema.TensorType
    dense = {("hidden" in result): kind for result, kind in kinds(content, "FULLY_CONNECTED")}
    assert dense[True] == types.FLOAT32
    convolutions = {("stem" in result): kind for result, kind in kinds(content, "CONV_2D")}
    assert convolutions[True] == types.FLOAT32
    assert convolutions[False] in (types.INT8, types.INT4)


def test_layers_of_few_weights_stay_float_at_run_time_as_the_converter_leaves_them(quantized, network):
    def types(content):
        return sorted(kind for name in ("CONV_2D", "FULLY_CONNECTED") for _, kind in kinds(content, name))

    ours = types(quantized(scheme="DynamicInt8").content)
    assert ours == types(tflite.convert(network, "DynamicInt8"))
    assert set(types(quantized(scheme="StaticInt8").content)) == {flatbuffer.schema.TensorType.INT8}
    assert flatbuffer.schema.TensorType.FLOAT32 in ours


def test_depthwise_convolutions_are_integers_only_with_static_ranges(depthwise_float, wide_images):
    types = flatbuffer.schema.TensorType
    calibration = scheme.Calibration(SERVED, wide_images, Loss(0.01, 0.02))
    for name, depthwise in (("DynamicInt8", types.FLOAT32), ("StaticInt8", types.INT8)):
        content = scheme.quantized(depthwise_float, Quantize(scheme=name), calibration, field=FIELD).content
        assert [kind for _, kind in kinds(content, "DEPTHWISE_CONV_2D")] == [depthwise]
        assert {kind for _, kind in kinds(content, "CONV_2D")} == {types.INT8}


def test_an_unknown_layer_is_refused_with_those_that_there_are(quantized):
    with pytest.raises(
        Invalid, match=r"excludeLayers: nothing matches no layer; there are stem, body, hidden, classes"
    ):
        quantized(scheme="DynamicInt8", excludeLayers=["stem", "nothing"])


def activation_zero_points(content):
    tensors = flatbuffer.parsed(content).subgraphs[0].tensors
    return {int(one.quantization.zeroPoint[0]) for one in tensors if one.type == 9 and "Relu" in one.name.decode()}


def test_symmetric_activations_have_zero_in_the_middle_of_their_range(quantized):
    assert activation_zero_points(quantized(scheme="StaticInt8", activations="Symmetric").content) == {0}
    assert activation_zero_points(quantized(scheme="StaticInt8").content) == {-128}


def scales(content):
    model = flatbuffer.parsed(content)
    return {
        len(one.quantization.scale)
        for one in model.subgraphs[0].tensors
        if one.type == 9 and model.buffers[one.buffer].data is not None
    }


def test_granularity_says_how_many_scales_a_tensor_has(quantized):
    assert scales(quantized(scheme="DynamicInt8", granularity="PerTensor").content) == {1}
    assert 16 in scales(quantized(scheme="DynamicInt8", granularity="PerChannel").content)


def test_the_static_scheme_keeps_the_ranges_that_lose_less_on_rows_it_was_not_calibrated_on(
    network_float, images, quantized
):
    held_out = Comparison(network_float.content, SERVED, images[::4])
    measured = ranges.measured(network_float.content, SERVED, [one for place, one in enumerate(images) if place % 4])
    tried = {
        update: held_out.of(rewriting.quantize(network_float.content, Assignment("StaticInt8"), measured.of(update)))
        for update in ranges.UPDATES
    }
    best = min(tried, key=lambda update: tried[update])
    assert quantized(scheme="StaticInt8").notes[0].startswith(f"activation ranges by {best}: ")


def test_mixed_spares_the_one_layer_whose_weights_no_integer_can_hold(scaled_float, scaled_rows):

    original = scaled_float
    loses = Comparison(original.content, SERVED, scaled_rows)
    calibration = scheme.Calibration(SERVED, scaled_rows, tolerance.of_gate(Gate()))
    for name in ("StaticInt8", "DynamicInt8"):
        broken = scheme.quantized(original, Quantize(scheme=name), calibration, field=FIELD)
        assert loses.of(broken.content).answers > 0.5
    rescued = scheme.quantized(original, Quantize(scheme="Mixed"), calibration, field=FIELD)
    assert loses.of(rescued.content).variance < 0.01
    assert "float32: scaled;" in rescued.notes[0]
    trials = int(rescued.notes[0].rpartition("after ")[2].split()[0])
    assert trials <= 20
    assert len(rescued.content) < 0.5 * len(original.content)


def test_zero_points_of_equally_many_channels_are_stored_once(quantized, images):
    content = quantized(scheme="StaticInt8").content
    model = flatbuffer.parsed(content)
    plain = flatbuffer.flatbuffer_utils.convert_object_to_bytearray(model)
    channels = sum(
        len(one.quantization.scale)
        for one in model.subgraphs[0].tensors
        if one.quantization is not None and one.quantization.scale is not None and len(one.quantization.scale) > 1
    )
    assert len(plain) - len(content) > 8 * channels / 2
    assert flatbuffer.written(model) == content
    expected = tflite.Interpreter(bytes(plain)).call(SERVED, images[0])["output_0"]
    np.testing.assert_array_equal(tflite.Interpreter(content).call(SERVED, images[0])["output_0"], expected)


@pytest.mark.parametrize(
    ("tolerance", "dense"), [(Loss(0.5, 0.5), {"INT4"}), (Loss(0.01, 0.02), {"INT8"}), (Loss(1e-4, 0.5), {"FLOAT32"})]
)
def test_mixed_gives_dense_layers_as_few_bits_as_the_gate_allows(network_float, images, tolerance, dense):
    calibration = scheme.Calibration(SERVED, images, tolerance)
    content = scheme.quantized(network_float, Quantize(scheme="Mixed"), calibration, field=FIELD).content
    types = flatbuffer.schema.TensorType
    largest = {kind for result, kind in kinds(content, "FULLY_CONNECTED") if "hidden" in result}
    assert largest == {getattr(types, name) for name in dense}
    assert types.INT4 not in {kind for _, kind in kinds(content, "CONV_2D")}


def test_a_stricter_mixed_loses_a_quarter_or_less_and_tries_nothing_twice(network_float, images):
    lost, tried = {}, {}
    for is_stricter in (False, True):
        calibration = scheme.Calibration(SERVED, images, Loss(0.5, 0.5), is_stricter=is_stricter)
        found = scheme.quantized(network_float, Quantize(scheme="Mixed"), calibration, field=FIELD)
        lost[is_stricter] = Comparison(network_float.content, SERVED, images[::4]).of(found.content)
        tried[is_stricter] = int(found.notes[0].rpartition("after ")[2].split()[0])
        assert found.notes[0].startswith("Mixed stricter: ") == is_stricter
    assert lost[True].variance <= 0.25 * lost[False].variance
    assert tried[False] < tried[True] < tried[False] + 20


def test_few_rows_allow_one_answer_more_but_no_four_bits(network_float, images):
    assert Loss(0.05, 0.01).told_by(64) == (0.05, pytest.approx(0.01 + 1 / 64))
    assert Loss(0.05, float("inf")).told_by(64) == Loss(0.05, float("inf"))
    calibration = scheme.Calibration(SERVED, images, Loss(0.5, 0.02))
    note = scheme.quantized(network_float, Quantize(scheme="Mixed"), calibration, field=FIELD).notes[0]
    assert "on 16 held-out rows" in note and "int4" not in note


def test_an_output_that_is_not_finite_is_beyond_any_tolerance(network_float, images):
    broken = flatbuffer.parsed(network_float.content)
    weights = max((one for one in broken.buffers if one.data is not None), key=lambda one: len(one.data))
    weights.data = np.full(len(weights.data) // 4, np.nan, np.float32).view(np.uint8)
    loss = Comparison(network_float.content, SERVED, images[:4]).of(flatbuffer.written(broken))
    assert not loss.within(Loss(1e9, 1e9))


def test_training_rounds_kernels_to_the_numbers_that_the_quantizer_stores(network, network_float, quantized):
    for fields, axes in (({}, (1,)), ({"granularity": "PerTensor"}, ())):
        stored = flatbuffer.parsed(quantized(scheme="DynamicInt8", **fields).content)
        tensor = next(one for one in stored.subgraphs[0].tensors if one.type == 9 and list(one.shape) == [32, 1024])
        integers = np.asarray(stored.buffers[tensor.buffer].data).view(np.int8).reshape(32, 1024)
        scales = np.asarray(tensor.quantization.scale, np.float32).reshape(-1, 1)
        kernel = next(one for one in network.variables() if one.name.startswith("hidden/kernel"))
        np.testing.assert_allclose(rounding.rounded(kernel, axes), (integers * scales).T, atol=1e-6)
