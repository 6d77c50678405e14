"""What of a search is kept: the front, the order of the few that are offered, and how far a failed one was."""

from __future__ import annotations

import pytest

from modelpress.api.gate import Gate
from modelpress.api.measurement import Compared, LatencyMeasured, Measurements, MetricMeasured
from modelpress.api.trial import Trial
from modelpress.compress.search import front, record
from modelpress.status import gate


def trial(number, *, drop=0.0, size=0.2, net=0.2, spread=0.01, verdict="Passed", findings=0, **more):
    return Trial(
        number=number,
        name=f"move-{number}",
        recipe=f"recipe {number}",
        form="TFLite",
        verdict=verdict,
        message="",
        findings=findings,
        metric=0.9 - drop,
        drop=drop,
        standard_error=0.001,
        size_ratio=size,
        latency_ratio=net + 0.3,
        net_ratio=net,
        net_low=net - spread,
        net_high=net + spread,
        **more,
    )


def numbers(trials):
    return [one.number for one in trials]


def test_the_front_holds_what_no_other_beats_in_metric_size_and_latency():
    trials = [trial(1), trial(2, size=0.1), trial(3, net=0.1), trial(4, drop=-0.1), trial(5, size=0.3, net=0.3)]
    assert numbers(front.pareto(trials)) == [2, 3, 4]


def test_what_failed_is_on_no_front_however_small():
    assert numbers(front.pareto([trial(1), trial(2, size=0.01, net=0.01, verdict="DropTooLarge", findings=1)])) == [1]


@pytest.mark.parametrize(("objective", "first"), [("Latency", 2), ("Size", 1), ("Metric", 3)])
def test_the_objective_decides_what_is_offered_first(objective, first):
    trials = [
        trial(1, drop=0.009, size=0.1, net=0.3),
        trial(2, drop=0.005, size=0.2, net=0.1),
        trial(3, drop=0, size=0.5, net=0.5),
    ]
    assert front.offered(trials, objective)[0].number == first
    assert sorted(numbers(front.offered(trials, objective))) == [1, 2, 3]


def test_what_is_faster_only_within_noise_is_not_called_faster():
    noisy = [trial(1, net=0.19, spread=0.03, size=0.25), trial(2, net=0.2, spread=0.03, size=0.2)]
    assert front.best(noisy, "Latency").number == 2
    clear = [trial(1, net=0.10, spread=0.01, size=0.25), trial(2, net=0.2, spread=0.01, size=0.2)]
    assert front.best(clear, "Latency").number == 1


def gross_only(number, *, gross, **more):
    return trial(number, net=gross, spread=0.05, **more).model_copy(
        update={"latency_ratio": gross, "latency_low": gross - 0.05, "latency_high": gross + 0.05, "is_net": False}
    )


def both(number, *, gross, net, **more):
    known = {"is_net": True, "net_ratio": net, "net_low": net - 0.01, "net_high": net + 0.01}
    return gross_only(number, gross=gross, **more).model_copy(update=known)


def test_the_net_latency_of_one_is_not_compared_with_the_gross_latency_of_another():
    small, large = gross_only(1, gross=0.8, size=0.1), both(2, gross=0.79, net=0.3, size=0.2)
    for objective in ("Latency", "Size"):
        assert front.best([small, large], objective) is small, "gross, they are alike, and the first is smaller"
    assert front.best([both(1, gross=0.8, net=0.7, size=0.1), large], "Latency") is large
    assert numbers(front.pareto([gross_only(1, gross=0.78, size=0.1), large])) == [1]
    found = front.scores([small, large], "Latency")
    assert (found[1], found[2]) == (0.8, 0.79)


def test_what_servers_cannot_tell_apart_the_engines_own_process_may():
    noisy = [trial(1, net=0.19, spread=0.03, size=0.25), trial(2, net=0.2, spread=0.03, size=0.2)]
    alone = [one.model_copy(update={"process_milliseconds": ms}) for one, ms in zip(noisy, (0.1, 0.2), strict=True)]
    assert front.best(alone, "Latency").number == 1


def test_times_in_the_engines_own_process_say_nothing_of_another_form():
    told = {"form": "SavedModel", "process_milliseconds": 0.1}
    large = trial(1, net=0.19, spread=0.03, size=0.25).model_copy(update=told)
    small = trial(2, net=0.2, spread=0.03, size=0.2).model_copy(update={"process_milliseconds": 0.2})
    assert front.best([large, small], "Latency").number == 2, "one has all CPUs there, the other one thread"
    unknown = large.model_copy(update={"process_milliseconds": None, "number": 3, "size_ratio": 0.1})
    assert front.best([large, small, unknown], "Latency").number == 3


def test_servers_that_contradict_the_engines_own_process_were_disturbed():
    first, second = trial(1, net=0.10, spread=0.01), trial(2, net=0.2, spread=0.01)
    slower, faster = ({"process_milliseconds": milliseconds} for milliseconds in (0.12, 0.1))
    assert front.best([first.model_copy(update=slower), second.model_copy(update=faster)], "Latency").number == 2
    assert front.best([first.model_copy(update=faster), second.model_copy(update=slower)], "Latency").number == 1
    other = second.model_copy(update={**faster, "form": "SavedModel"})
    assert front.best([first.model_copy(update=slower), other], "Latency").number == 1, "with threads of its own"


def test_of_equal_sizes_noise_in_latency_does_not_choose_the_less_faithful():
    float16, bfloat16 = trial(1, net=0.9, spread=0.3), trial(2, drop=0.001, net=0.7, spread=0.3)
    assert front.best([float16, bfloat16], "Size").number == front.best([float16, bfloat16], "Latency").number == 1
    assert front.best([float16, bfloat16.model_copy(update={"drop": 0.0})], "Size").number == 1, "tried first"
    assert numbers(front.offered([float16, bfloat16], "Size"))[0] == 1
    clearly_faster = trial(2, drop=0.001, net=0.2, spread=0.01)
    assert front.best([float16, clearly_faster], "Size").number == 2


@pytest.mark.parametrize("objective", ["Latency", "Size", "Metric"])
def test_of_two_halves_that_noise_does_not_tell_apart_the_more_exact_is_offered_first(objective):
    def half(number, scheme, milliseconds, **more):
        said = {"recipe": f"quantize {scheme}", "form": "SavedModel", "process_milliseconds": milliseconds}
        return trial(number, spread=0.3, **more).model_copy(update=said)

    seeming = [half(1, "Float16", 0.1317, drop=0.001, net=0.8), half(2, "BFloat16", 0.1129, net=0.5)]
    assert front.best(seeming, objective).number == 1
    assert numbers(front.offered(seeming, objective))[0] == 1
    for better in ({"net": 0.1}, {"size": 0.1}, {"drop": -0.01}):
        assert front.best([seeming[0], half(2, "BFloat16", 0.1, **{"net": 0.5, **better})], objective).number == 2


def test_what_is_said_of_latency_is_net_with_its_interval_or_gross():
    gross = trial(1, net=0.5, candidate=1)
    assert front.summary([gross]).endswith("0.2 of the size, 0.5 of the latency")
    net = gross.model_copy(update={"is_net": True})
    assert front.summary([net]).endswith("0.2 of the size, 0.5 (0.49 to 0.51) of the net latency")


def test_a_net_latency_that_noise_does_not_tell_from_none_is_said_to_be_unmeasurable():
    lost = trial(1, net=0.02, candidate=1).model_copy(update={"is_net": True, "net_low": 0.0, "net_high": 0.045})
    told = "0.2 of the size, net latency too small to be measured (at most 0.045 of the source's)"
    assert front.summary([lost]).endswith(told)


@pytest.mark.parametrize(("net", "expected"), [(None, (0.8, 0.7, 0.9)), (0.4, (0.4, 0.3, 0.5))])
def test_the_latency_of_a_trial_lies_in_its_own_interval(net, expected):
    timed = LatencyMeasured(
        percentile=95,
        batch_size=1,
        gross=Compared(source=10, value=8, ratio=0.8),
        p50=Compared(source=5, value=6, ratio=1.2),
        ratio_low=0.7,
        ratio_high=0.9,
        net=net and Compared(source=5, value=2, ratio=net),
        net_ratio_low=net and 0.3,
        net_ratio_high=net and 0.5,
    )
    size = Compared(source=4, value=1, ratio=0.25)
    measured = Measurements(size_bytes=size, latency_milliseconds=timed)
    found = record.told(trial(1), measured, size, "Passed", "")
    assert (found.net_ratio, found.net_low, found.net_high) == expected
    assert found.is_net == (net is not None)
    assert (found.latency_ratio, found.latency_low, found.latency_high) == (0.8, 0.7, 0.9)


def test_of_many_three_are_offered_and_the_most_faithful_is_among_them():
    trials = [trial(n, drop=0.009 - n / 1000, size=0.1 + n / 100, net=0.1 + n / 20) for n in range(1, 7)]
    assert numbers(front.offered(trials, "Latency")) == [1, 2, 6]


def judged(number, *, drop=0.0, size=0.2, slow=0.5):
    """A trial that the gate judged: a drop of 0.01, 0.15 of the size and all of the latency are allowed."""
    metric = MetricMeasured(type="Accuracy", source=0.9, value=0.9 - drop, drop=drop, standard_error=0.001)
    timed = LatencyMeasured(percentile=95, batch_size=1, gross=Compared(source=1, value=slow, ratio=slow))
    compared = Compared(source=1, value=size, ratio=size)
    measured = Measurements(metrics=(metric,), size_bytes=compared, latency_milliseconds=timed)
    limits = {
        "metrics": [{"type": "Accuracy", "maxDrop": 0.01}],
        "size": {"maxRatio": 0.15},
        "latency": {"maxRatio": 1},
    }
    verdict = gate.judge(measured, Gate.model_validate(limits), samples=10_000)
    return record.told(trial(number), measured, compared, verdict.reason, verdict.message, verdict.findings)


def test_an_excess_that_is_not_known_is_left_out_because_json_has_no_infinity():
    assert "excess" not in judged(1, slow=float("nan")).plain()
    assert judged(1, size=0.3).plain()["excess"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"size": 0.95}, {"size": 0.16, "drop": 0.004}),
        ({"drop": 0.4, "size": 0.1}, {"drop": 0.02, "size": 0.1}),
        ({"slow": 9, "size": 0.1}, {"slow": 1.1, "size": 0.1, "drop": 0.009}),
        ({"size": 0.9}, {"size": 0.16, "drop": 0.013, "slow": 1.1}),
        ({"size": 0.16, "drop": 0.03}, {"size": 0.16}),
        ({"drop": float("nan")}, {"size": 0.95, "drop": 0.4}),
    ],
    ids=["size", "drop", "latency", "three by little and one by far", "a limit more", "not a number"],
)
def test_of_those_that_failed_the_nearest_exceeds_its_limits_least(worse, better):
    far, near = judged(1, **worse), judged(2, **better)
    assert not far.passed and not near.passed
    assert numbers(front.offered([far, near], "Latency")) == [2, 1]
    assert front.nearest([far, near]) is near
    assert front.summary(front.marked([far, near], [near])).endswith(f"the nearest: recipe 2, TFLite: {near.message}")
    told = front.scores([far, near, judged(3, size=0.1)], "Latency")
    assert told[3] < told[2] < told[1]


def test_how_far_a_trial_is_from_passing_outlives_the_journal():
    for one in (judged(1, size=0.95), judged(2, drop=float("inf")), judged(3, size=0.1)):
        line = one.json_line()
        assert Trial.from_json(line) == one and Trial.from_json(line).json_line() == line


def test_of_those_that_an_older_release_tried_the_nearest_fails_fewer_limits_then_drops_less():
    lost = [
        trial(1, drop=0.4, verdict="DropTooLarge", findings=1),
        trial(2, drop=0.02, verdict="DropTooLarge", findings=1),
        trial(3, drop=0.01, verdict="DropTooLarge", findings=2),
    ]
    assert numbers(front.offered(lost, "Latency")) == [2, 1, 3]
    assert front.best(lost, "Latency") is None
    assert front.nearest(lost).number == 2


@pytest.mark.parametrize("objective", ["Latency", "Size", "Metric"])
def test_every_pass_scores_better_than_any_failure(objective):
    failed = trial(1, drop=0.011, size=0.01, net=0.01, verdict="DropTooLarge", findings=1)
    found = front.scores([failed, trial(2, drop=0.01, size=1, net=1)], objective)
    assert found[2] < found[1]


def test_trials_know_whether_they_are_on_the_front_and_as_what_they_are_offered():
    trials = [trial(1, size=0.3, net=0.3), trial(2)]
    marked = front.marked(trials, [trials[1]])
    assert [(one.front, one.candidate) for one in marked] == [(False, None), (True, 1)]
    assert numbers(front.offered_first(marked)) == [2, 1]


def test_a_failed_search_says_how_near_it_came():
    lost = trial(1, drop=0.02, verdict="DropTooLarge", findings=1).model_copy(
        update={"message": "Accuracy drops by 0.02, 0.01 is allowed"}
    )
    assert front.summary(front.marked([lost], front.offered([lost], "Latency"))) == (
        "1 trial, none passed; the nearest: recipe 1, TFLite: Accuracy drops by 0.02, 0.01 is allowed"
    )


def test_a_search_in_which_nothing_could_be_built_says_why():
    refused = Trial(
        number=1, name="m", recipe="float32", form="TFLite", verdict="NotFreezable", message="it has tables"
    )
    assert front.summary(front.marked([refused], [])) == (
        "1 trial, nothing could be measured: float32, TFLite: NotFreezable, it has tables"
    )
