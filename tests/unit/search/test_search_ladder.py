"""The ladder has what the device can serve and the data allow, and what a user could have written."""

from __future__ import annotations

import pytest

from modelpress.api.recipe import Recipe
from modelpress.api.trial import Trial
from modelpress.compress.search import ladder


def rungs(device="CPU", has_calibration=True, is_one_graph=True, **recipe):
    options = {"has_calibration": has_calibration, "is_one_graph": is_one_graph}
    found = ladder.moves(Recipe.model_validate(recipe), device, **options)
    return [(move.build.form, move.build.recipe) for move in found]


def test_eight_bits_come_first_and_float_last():
    found = rungs()
    assert found[:2] == [("TFLite", "quantize DynamicInt8"), ("TFLite", "quantize StaticInt8")]
    assert ("TFLite", "quantize Int4Weights") in found
    assert found[-2:] == [("TFLite", "float32"), ("SavedModel", "float32")]


def test_without_calibration_data_nothing_is_calibrated():
    assert not [recipe for _, recipe in rungs(has_calibration=False) if "Static" in recipe or "Mixed" in recipe]


def test_a_gpu_gets_no_tflite_and_no_integers():
    assert {form for form, _ in rungs("GPU")} == {"SavedModel"}
    assert not [recipe for _, recipe in rungs("GPU") if "Int8" in recipe or "Int4" in recipe]


def test_the_format_of_the_recipe_is_kept():
    assert {form for form, _ in rungs(format="SavedModel")} == {"SavedModel"}


def test_what_cannot_be_one_graph_is_no_float32_savedmodel():
    found = rungs(is_one_graph=False)
    assert [*found, ("SavedModel", "float32")] == rungs()


def test_moves_have_names_of_their_own():
    names = [move.name for move in ladder.moves(Recipe(), "CPU", has_calibration=True)]
    assert len(set(names)) == len(names)


def tried_last(*passed, objective="Latency", device="CPU", net_high=0.4, failed="DropTooLarge"):
    rungs = ladder.moves(Recipe(), device, has_calibration=True)
    trials = [
        Trial(
            number=number,
            name=one.name,
            recipe=one.build.recipe,
            form=one.build.form,
            verdict="Passed" if one.build.weights in passed else failed,
            message="",
            net_ratio=0.3,
            net_high=net_high,
        )
        for number, one in enumerate(ladder.integers(rungs), start=1)
    ]
    return [(move.build.form, move.build.weights) for move in ladder.late(rungs, trials, objective)]


def test_floats_are_for_where_integers_fail():
    assert tried_last() == []
    assert tried_last(objective="Size") == []
    assert tried_last(device="GPU") == []


@pytest.mark.parametrize("objective", ["Latency", "Size", "Metric"])
def test_floats_come_last_where_integers_are_too_large(objective):
    assert len(tried_last(objective=objective, failed="TooLarge")) == 5
    assert tried_last(objective=objective, failed="TooSlow") == [], "floats may be faster"


def test_floats_come_last_once_integers_passed_that_are_smaller_and_faster():
    assert tried_last("DynamicInt8", "StaticInt8") == [
        ("SavedModel", "Float16"),
        ("SavedModel", "BFloat16"),
        ("TFLite", "Float16"),
        ("TFLite", "Float32"),
        ("SavedModel", "Float32"),
    ]


def test_floats_are_tried_before_where_integers_are_not_faster_than_the_source():
    assert tried_last("DynamicInt8", "StaticInt8", net_high=1.4) == []
    assert len(tried_last("DynamicInt8", net_high=1.4, objective="Size")) == 5, "but they are no smaller"


def test_one_float_tells_how_fast_floats_are_where_integers_only_store_weights():
    assert ("TFLite", "Float16") not in tried_last("DynamicInt8")
    assert ("SavedModel", "Float16") in tried_last("DynamicInt8")
    assert ("TFLite", "Float16") in tried_last("DynamicInt8", objective="Size")


def test_floats_are_not_put_off_where_fidelity_is_asked_for():
    assert tried_last("DynamicInt8", "StaticInt8", objective="Metric") == []


def refined(recipe, verdict, *, drop=0.0, **more):
    tried = Trial(
        number=1, name="m", recipe=recipe, form="TFLite", verdict=verdict, message="", net_ratio=0.2, drop=drop
    )
    options = {"has_calibration": True, "objective": "Latency"} | more
    return [move.build.recipe for move in ladder.refined(Recipe(), "CPU", trials=[tried], **options)]


def mixed_tried(verdict):
    (mixed,) = ladder.refined(Recipe(), "CPU", has_calibration=True, trials=[], objective="Latency")
    tried = Trial(number=2, name=mixed.name, recipe=mixed.build.recipe, form="TFLite", verdict=verdict, message="")
    return mixed, ladder.stricter([mixed], [tried])


@pytest.mark.parametrize("verdict", ["DropTooLarge", "EvaluationSetTooSmall"])
def test_mixed_that_misses_the_gate_by_its_metric_is_tried_once_more_with_a_stricter_limit(verdict):
    mixed, (again,) = mixed_tried(verdict)
    assert (again.build.recipe, again.build.is_stricter) == ("quantize Mixed stricter", True)
    assert again.name != mixed.name


def test_mixed_that_passes_or_fails_otherwise_is_tried_once():
    for verdict in ("Passed", "TooSlow", "BuildFailed"):
        assert mixed_tried(verdict)[1] == []


def test_layers_are_looked_at_one_by_one_unless_four_bits_in_all_of_them_are_best():
    assert refined("quantize DynamicInt8", "DropTooLarge") == ["quantize Mixed"]
    assert refined("quantize DynamicInt8", "Passed") == ["quantize Mixed"]
    assert refined("quantize Int4Weights", "DropTooLarge") == ["quantize Mixed"]
    assert refined("quantize Int4Weights", "Passed") == []
    assert refined("quantize Int4Weights", "Passed", drop=0.009) == ["quantize Mixed"], "it leaves no room for more"
    assert refined("quantize DynamicInt8", "DropTooLarge", has_calibration=False) == []
