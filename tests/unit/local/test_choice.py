"""What is served follows from the verdicts alone, and its sentence says why."""

from __future__ import annotations

import pytest

from modelpress.api.artifact import Refused
from modelpress.api.gate import Gate
from modelpress.api.measurement import Compared, LatencyMeasured, Measurements
from modelpress.api.recipe import Recipe, Search
from modelpress.compress.local import choice
from modelpress.compress.report.document import CandidateReport, Judgement


def a_candidate(index, milliseconds, *, passed=True, source=10):
    compared = Compared(source=source, value=milliseconds, ratio=milliseconds / source)
    return CandidateReport(
        index=index,
        recipe="quantize DynamicInt8",
        form="TFLite",
        digest="sha256:0",
        size_bytes=1,
        evaluation="e",
        evidence="Labelled",
        samples=10,
        server="s",
        measurements=Measurements(
            latency_milliseconds=LatencyMeasured(percentile=95, batch_size=1, gross=compared, p50=compared)
        ),
        verdict=Judgement(passed=passed, reason="TooSlow", message="p95 latency is 2 x the source's, 1.1 x is allowed"),
        reused=False,
    )


def choose(*candidates, form="Auto", device="CPU", on_failure="KeepServing", refused=(), search=None):
    return choice.choose(
        candidates, refused, recipe=Recipe(format=form, search=search), gate=Gate(on_failure=on_failure), device=device
    )


def test_the_fastest_that_passed_is_served_where_the_form_is_open():
    decided = choose(a_candidate(1, 9), a_candidate(2, 3), a_candidate(3, 1, passed=False))
    assert (decided.serves, decided.candidate) == ("Candidate", 2)
    assert decided.message.startswith("Candidate 2 is served, the fastest that passed: quantize DynamicInt8 as TFLite")


def test_other_load_on_the_machine_does_not_decide():
    decided = choose(a_candidate(1, 14, source=10), a_candidate(2, 18, source=20))
    assert decided.candidate == 2


@pytest.mark.parametrize(("form", "device"), [("TFLite", "CPU"), ("SavedModel", "CPU"), ("Auto", "GPU")])
def test_the_engines_order_decides_where_the_form_is_given(form, device):
    assert choose(a_candidate(1, 9), a_candidate(2, 3), form=form, device=device).candidate == 1


def test_nothing_is_served_where_nothing_passed_and_nothing_ran():
    decided = choose(a_candidate(1, 20, passed=False))
    assert (decided.serves, decided.reason) == ("Nothing", "GateFailed")
    assert "candidate 1 (quantize DynamicInt8, TFLite): p95 latency is 2 x the source's" in decided.message
    assert "set gate.onFailure: ServeSource" in decided.message


def test_the_source_is_served_where_the_file_asks_for_it():
    decided = choose(a_candidate(1, 20, passed=False), on_failure="ServeSource")
    assert decided.serves == "Source"
    assert "No candidate passed the gate" in decided.message


def test_where_nothing_could_be_built_the_refusals_are_told():
    refused = Refused(recipe="quantize Float16", form="TFLite", reason="NotFinite", message="output note holds NaN")
    decided = choose(refused=(refused,))
    assert decided.reason == "NoCandidate"
    assert "quantize Float16, TFLite, was refused: output note holds NaN" in decided.message


def noisy(candidate, low, high, *, net=None):
    """`low` and `high` of the gross ratio; `net`: ratio, low and high."""
    known = {"ratio_low": low, "ratio_high": high}
    if net is not None:
        ratio, net_low, net_high = net
        net = Compared(source=10, value=10 * ratio, ratio=ratio)
        known |= {"net": net, "net_ratio_low": net_low, "net_ratio_high": net_high}
    timed = candidate.measurements.latency_milliseconds.model_copy(update=known)
    return candidate.model_copy(update={"measurements": Measurements(latency_milliseconds=timed)})


def test_what_is_faster_only_within_noise_does_not_overtake_the_engines_first():
    first, second = a_candidate(1, 2.0), a_candidate(2, 1.9)
    assert choose(noisy(first, 0.17, 0.23), noisy(second, 0.16, 0.22)).candidate == 1
    assert choose(noisy(first, 0.195, 0.205), noisy(second, 0.187, 0.193)).candidate == 2


def test_the_sentence_says_how_far_the_latency_is_known():
    assert choose(noisy(a_candidate(1, 8.7), 0.61, 1.26)).message.endswith("0.87 (0.61 to 1.26) of the p95 latency.")
    assert choose(a_candidate(1, 8.7)).message.endswith("0.87 of the p95 latency.")


def test_what_noise_does_not_tell_apart_is_not_called_the_fastest():
    tied = choose(noisy(a_candidate(1, 2.0), 0.17, 0.23), noisy(a_candidate(2, 1.9), 0.16, 0.22))
    assert tied.message.startswith(
        "Candidate 1 is served, the engine's first of 2 that noise does not tell from the fastest: quantize DynamicInt8"
    )
    ahead = choose(noisy(a_candidate(1, 1.9), 0.16, 0.22), noisy(a_candidate(2, 2.0), 0.17, 0.23))
    assert "the engine's first of 2 that noise does not tell from the fastest" in ahead.message


def test_of_three_the_engines_first_is_chosen_among_those_that_may_be_fastest():
    slow, middle, fast = (
        noisy(a_candidate(index, value), value / 10 - 0.02, value / 10 + 0.02)
        for index, value in ((1, 2.4), (2, 2.1), (3, 1.8))
    )
    decided = choose(slow, middle, fast)
    assert decided.candidate == 2, "which noise does not tell from the third; the first is slower than that"
    assert "the engine's first of 2 that noise" in decided.message


def test_the_net_latency_of_one_is_not_compared_with_the_gross_latency_of_another():
    without, with_net = (
        noisy(a_candidate(1, 8.0), 0.75, 0.85),
        noisy(a_candidate(2, 7.9), 0.74, 0.84, net=(0.3, 0.2, 0.4)),
    )
    assert choose(without, with_net).candidate == 1, "gross, they are alike"
    assert choose(noisy(a_candidate(1, 8.0), 0.75, 0.85, net=(0.7, 0.6, 0.8)), with_net).candidate == 2


def test_where_size_was_searched_for_the_smallest_is_served_and_not_the_fastest():
    assert choose(a_candidate(1, 2.0), a_candidate(2, 1.0), search=Search(objective="Size")).candidate == 1
