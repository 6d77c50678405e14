"""The guided part of a search: what it may vary, that it gets better, that it ends, and that a kill changes nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from modelpress.api.recipe import Recipe, Search
from modelpress.api.request import Target
from modelpress.api.trial import Trial
from modelpress.compress.search import guidance, ladder, space
from modelpress.compress.search import move as moves
from modelpress.compress.search.anatomy import Net
from modelpress.compress.search.guidance import Guide
from modelpress.compress.search.journal import Journal

LAYERS = ("head", "conv_1", "conv_2")


def a_bench(*, labels=True, training=True, calibration=True, device="CPU", unfreezable=None, **recipe):
    rows = SimpleNamespace(targets={"probs": np.zeros(3)} if labels else {})
    sets = {"training": SimpleNamespace(rows=rows)} if training else {}
    return SimpleNamespace(
        request=SimpleNamespace(recipe=Recipe.model_validate(recipe), target=Target(device=device)),
        examples=SimpleNamespace(sets=sets, calibration=lambda: rows if calibration else None),
        unfreezable=unfreezable,
    )


COSTLY = ("TooLarge", "TooSlow", "TooMuchMemory")


def a_trial(number, move, *, passed=True, net=0.5):
    return Trial(
        number=number,
        name=move.name,
        recipe=move.build.recipe,
        form=move.build.form,
        verdict="Passed" if passed else "DropTooLarge",
        message="",
        findings=0 if passed else 1,
        metric=0.9,
        drop=0.001 if passed else 0.05,
        size_ratio=net,
        net_ratio=net,
        net_low=net,
        net_high=net,
        parameters=move.parameters,
    )


def worth(move):
    """The more filters go, the faster; too many lose too much; distilling loses less."""
    share = move.parameters["share"] if move.parameters["way"] != "none" else 0.0
    most = {"none": 0.0, "fineTune": 0.3, "distill": 0.4, "shallow": 0.2}[move.parameters["way"]]
    return {"passed": share <= most, "net": 1 - share - 0.1 * (move.parameters.get("scheme") == "StaticInt8")}


def searched(path, *, steps=60, bench=None):
    """Names of the moves in order, and the journal, after so many steps or the guide's own end."""
    journal = Journal(path)
    guide = Guide(bench or a_bench(), Search(), journal)
    names = []
    for _ in range(steps):
        proposed = guide.next()
        for move in proposed:
            names.append(move.name)
            journal.append(a_trial(len(journal.trials) + 1, move, **worth(move)))
        if not proposed:
            break
    return names, journal


@pytest.fixture(autouse=True)
def _layers(monkeypatch):
    """No model is there to be asked for its layers."""
    monkeypatch.setattr(
        space, "of", lambda bench, trials, objective: space.Space(bench, trials, objective, lambda: LAYERS)
    )


def test_it_finds_what_is_worth_most_and_ends_by_itself(tmp_path):
    names, journal = searched(tmp_path / "trials.jsonl")
    assert guidance.PATIENCE <= len(names) < 60
    assert len(set(names)) == len(names)
    best = min((trial for trial in journal.trials if trial.passed), key=lambda trial: trial.net_ratio)
    assert best.net_ratio <= 0.6


def test_a_resumed_search_asks_what_an_undisturbed_one_asks(tmp_path):
    whole, _ = searched(tmp_path / "whole.jsonl", steps=8)
    first, _ = searched(tmp_path / "halves.jsonl", steps=3)
    second, _ = searched(tmp_path / "halves.jsonl", steps=5)
    assert first + second == whole


def test_without_training_data_and_rows_and_with_integers_that_pass_nothing_is_left_to_vary(tmp_path):
    passed = Trial(number=1, name="m", recipe="quantize DynamicInt8", form="TFLite", verdict="Passed", message="")
    without = a_bench(training=False, calibration=False)
    assert space.Space(without, [passed], "Latency", lambda: LAYERS).distributions == {}
    names, _ = searched(tmp_path / "trials.jsonl", bench=a_bench(training=False, device="GPU"))
    assert names == []


@pytest.mark.parametrize(("scheme", "device"), [("StaticInt8", "CPU"), ("Float16", "GPU")])
def test_without_training_data_filters_go_as_far_as_rows_without_labels_allow(tmp_path, scheme, device):
    journal = Journal(tmp_path / "trials.jsonl")
    form = "TFLite" if device == "CPU" else "SavedModel"
    rung = moves.of_steps([{"quantize": {"scheme": scheme}}], form, Recipe(), device)
    journal.append(a_trial(1, rung, net=0.3))
    guide = Guide(a_bench(training=False, device=device), Search(), journal)
    for _ in range(3):
        (move,) = guide.next()
        share = move.parameters["share"]
        journal.append(a_trial(len(journal.trials) + 1, move, passed=share < 0.35, net=0.3 - 0.2 * share))
    assert [trial.recipe for trial in journal.trials[1:]] == [
        f"prune Filter Reconstruction {share} %; quantize {scheme}" for share in (40, 20, 30)
    ]
    (other,) = guide.next()
    if device == "CPU":
        assert other.build.recipe == "prune Filter Reconstruction 30 %; quantize DynamicInt8"


def test_a_way_that_the_graph_does_not_bear_is_tried_once(tmp_path):
    journal = Journal(tmp_path / "trials.jsonl")
    journal.append(ladder_trial(1, "StaticInt8", net=0.3))
    guide = Guide(a_bench(), Search(), journal)
    while found := guide.next():
        tried = a_trial(len(journal.trials) + 1, found[0], passed=False)
        if found[0].parameters["way"] in ("prune", "fineTune", "distill"):
            tried = tried.model_copy(update={"verdict": "StepCannotApply", "metric": None})
        journal.append(tried)
    ways = [trial.parameters["way"] for trial in journal.trials if trial.parameters]
    assert ways.count("prune") == 1
    assert not {"fineTune", "distill"} & set(ways)


@pytest.mark.parametrize("verdict", COSTLY)
def test_layers_may_stay_float_where_one_scheme_loses_too_much_though_another_only_takes_too_much(verdict):
    dynamic = ladder_trial(1, "DynamicInt8", net=0.3).model_copy(update={"verdict": verdict, "findings": 1})
    static = ladder_trial(2, "StaticInt8", net=0.2).model_copy(update={"verdict": "DropTooLarge", "findings": 1})
    found = space.Space(a_bench(training=False), [dynamic, static], "Latency", lambda: LAYERS).distributions
    assert "spared" in found


@pytest.mark.parametrize("verdict", COSTLY)
def test_what_only_takes_too_much_gets_fewer_filters_and_no_floats(verdict):
    failed = ladder_trial(1, "DynamicInt8", net=0.3).model_copy(update={"verdict": verdict, "findings": 1})
    for objective in ("Latency", "Size"):
        found = space.Space(a_bench(training=False), [failed], objective, lambda: LAYERS).distributions
        assert "prune" in found["way"].choices
        assert "spared" not in found
    assert space.Space(a_bench(training=False), [failed], "Metric", lambda: LAYERS).distributions == {}


@pytest.mark.parametrize("verdict", COSTLY)
def test_filters_go_further_while_what_is_left_takes_too_much(tmp_path, verdict):
    journal = Journal(tmp_path / "trials.jsonl")
    journal.append(ladder_trial(1, "DynamicInt8", net=0.3).model_copy(update={"verdict": verdict}))
    guide = Guide(a_bench(training=False), Search(), journal)
    for _ in range(4):
        (move,) = guide.next()
        share = move.parameters["share"]
        tried = a_trial(len(journal.trials) + 1, move, passed=share < 0.75, net=0.3 - 0.2 * share)
        journal.append(tried.model_copy(update={"verdict": verdict}) if share < 0.55 else tried)
    told = [(trial.parameters["share"], trial.verdict) for trial in journal.trials[1:]]
    assert told == [(0.4, verdict), (0.6, "Passed"), (0.7, "Passed"), (0.8, "DropTooLarge")]


def test_where_nothing_passed_filters_go_with_the_scheme_that_keeps_the_metric_and_came_nearest():
    def too_large(number, scheme, excess):
        return ladder_trial(number, scheme, net=0.3).model_copy(update={"verdict": "TooLarge", "excess": excess})

    lost = ladder_trial(1, "DynamicInt8", net=0.3, passed=False)
    found = space.Space(a_bench(), [lost, too_large(2, "StaticInt8", 1.7)], "Latency", lambda: LAYERS)
    assert list(found.distributions["scheme"].choices) == ["StaticInt8", "DynamicInt8"]
    assert found.starts([])[0]["way"] == "prune"
    four = [too_large(1, "DynamicInt8", 1.7), too_large(2, "StaticInt8", 1.6), too_large(3, "Int4Weights", 0.4)]
    found = space.Space(a_bench(), four, "Latency", lambda: LAYERS)
    assert list(found.distributions["scheme"].choices) == ["Int4Weights", "DynamicInt8", "StaticInt8"]


def test_filters_do_not_go_where_the_scheme_alone_loses_too_much_or_the_metric_is_what_counts():
    bench = a_bench(training=False)
    failed, passed = (ladder_trial(1, "DynamicInt8", net=0.3, passed=good) for good in (False, True))
    assert "way" not in space.Space(bench, [failed], "Latency", lambda: LAYERS).distributions
    assert "way" not in space.Space(bench, [passed], "Metric", lambda: LAYERS).distributions


def ladder_trial(number, scheme, *, net, passed=True):
    return a_trial(
        number, moves.of_steps([{"quantize": {"scheme": scheme}}], "TFLite", Recipe(), "CPU"), passed=passed, net=net
    )


def test_the_scheme_that_did_best_alone_is_combined_first_and_four_bits_only_where_they_passed():
    eight = [ladder_trial(1, "DynamicInt8", net=0.3), ladder_trial(2, "StaticInt8", net=0.2)]
    for four, schemes in (
        (ladder_trial(3, "Int4Weights", net=0.1), ["Int4Weights", "DynamicInt8", "StaticInt8"]),
        (ladder_trial(3, "Int4Weights", net=0.1, passed=False), ["StaticInt8", "DynamicInt8"]),
    ):
        found = space.Space(a_bench(), [*eight, four], "Latency", lambda: LAYERS)
        assert list(found.distributions["scheme"].choices) == schemes
        assert {start["scheme"] for start in found.starts([])} == {schemes[0]}


def test_a_scheme_that_loses_nothing_is_combined_before_a_better_one_that_takes_most_of_what_may_be_lost():
    eight, four = ladder_trial(1, "DynamicInt8", net=0.3), ladder_trial(2, "Int4Weights", net=0.1)
    lossless = eight.model_copy(update={"drop": -0.001, "standard_error": 0.002})
    found = space.Space(a_bench(), [lossless, four], "Latency", lambda: LAYERS)
    assert list(found.distributions["scheme"].choices) == ["DynamicInt8", "Int4Weights", "StaticInt8"]


def test_mixed_is_combined_where_it_is_more_than_the_integers_alone_but_spares_layers_by_itself():
    rescued = [ladder_trial(1, "DynamicInt8", net=0.3, passed=False), ladder_trial(2, "Mixed", net=0.2)]
    found = space.Space(a_bench(), rescued, "Latency", lambda: LAYERS)
    assert list(found.distributions["scheme"].choices) == ["Mixed", "DynamicInt8", "StaticInt8"]
    assert {start["scheme"] for start in found.starts([]) if start["spared"]} == {"DynamicInt8", "StaticInt8"}
    assert {start["scheme"] for start in found.starts([]) if not start["spared"]} == {"Mixed"}


def test_mixed_is_combined_as_strictly_as_it_had_to_be_to_pass():
    (mixed,) = ladder.refined(Recipe(), "CPU", has_calibration=True, trials=[], objective="Latency")
    failed, rescued = a_trial(1, mixed, passed=False), a_trial(2, mixed.stricter)
    found = space.Space(a_bench(), [failed, rescued], "Latency", lambda: LAYERS)
    combined = found.move(found.starts([])[0])
    assert combined.build.is_stricter and combined.build.recipe.endswith("quantize Mixed stricter")
    both = space.Space(a_bench(), [a_trial(1, mixed), rescued], "Latency", lambda: LAYERS)
    assert not both.move(both.starts([])[0]).build.is_stricter


def test_unlabelled_training_data_are_for_distilling_only():
    found = space.Space(a_bench(labels=False), [], "Latency", lambda: ()).distributions
    assert "fineTune" not in found["way"].choices if "way" in found else True


def test_a_gpu_is_searched_without_integers():
    found = space.Space(a_bench(device="GPU"), [], "Latency", lambda: LAYERS).distributions
    assert "spared" not in found and "scheme" not in found


def test_several_moves_for_several_hands_are_all_different(tmp_path):
    guide = Guide(a_bench(), Search(), Journal(tmp_path / "trials.jsonl"))
    assert len({move.name for move in guide.next(8)}) == 8


def test_it_goes_on_from_a_share_that_passed_to_a_larger_one_and_then_trains_longer(tmp_path):
    _, journal = searched(tmp_path / "trials.jsonl", steps=4)
    points = [trial.parameters for trial in journal.trials]
    assert [point["way"] for point in points] == ["distill"] * 4
    assert [point["share"] for point in points] == [0.4, 0.6, 0.5, 0.5]
    assert points[3]["epochs"] > points[2]["epochs"]


@pytest.mark.parametrize(("net", "ways", "rate"), [(Net(), 3, 1e-4), (Net(True, 3), 3, 1e-3), (Net(False, 6), 4, 1e-4)])
def test_blocks_are_left_out_where_many_repeat_and_the_rate_follows_from_the_norms(net, ways, rate):
    found = space.Space(a_bench(), [], "Latency", tuple, lambda: net)
    assert len(found.distributions["way"].choices) == ways
    assert {start["rate"] for start in found.starts([])} == {rate}
    assert (found.starts([])[0]["way"] == "shallow") == (net.blocks > 3)


@pytest.mark.parametrize(("updates", "epochs"), [(0, 2), (1875, 1), (270, 2), (187, 4), (3, 4)])
def test_few_rows_are_gone_through_more_often(updates, epochs):
    found = space.Space(a_bench(), [], "Latency", tuple, lambda: Net(updates=updates))
    assert {start["epochs"] for start in found.starts([])} == {epochs}


def test_structure_is_not_varied_where_the_model_cannot_be_one_graph():
    (passed, *_) = ladder.moves(Recipe(), "CPU", has_calibration=True)
    trials = [a_trial(1, passed)]
    for training in (True, False):
        whole, tables = (
            space.Space(a_bench(training=training, unfreezable=why), trials, "Latency", lambda: LAYERS)
            for why in (None, "it keeps lookup tables")
        )
        assert "way" in whole.distributions
        assert tables.distributions == {}
