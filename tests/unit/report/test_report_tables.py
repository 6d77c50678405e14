"""Tables say every number once, with what it is measured against."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from modelpress.api.measurement import Compared, Measurements
from modelpress.api.trial import Trial
from modelpress.compress.report import tables


def shown(table, width=140):
    """The table as text of a terminal of this width."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def cells(text, name):
    """Cells of the row called `name`."""
    found = next(line for line in text.splitlines() if line.startswith(f" {name}"))
    return [cell.strip() for cell in found[1 + len(name) :].split("  ") if cell.strip()]


def test_source_and_candidates_stand_beside_each_other(a_report):
    text = shown(tables.comparison(a_report()))
    assert cells(text, "size") == ["87 MiB", "22 MiB (0.25×)", "44 MiB (0.51×)"]
    assert cells(text, "latency p95") == ["34.2 ms", "9.1 ms (0.27×)", "41.4 ms (1.21×)"]
    assert cells(text, "  95 % interval") == ["0.25–0.28×", "1.15–1.28×"]
    assert cells(text, "Accuracy scores") == ["0.7945", "0.794", "0.794"]
    assert cells(text, "  drop ± se") == ["+0.0005 ± 0.0026", "+0.0005 ± 0.0026"]
    assert cells(text, "  agreement") == ["0.981", "0.981"]
    assert cells(text, "peak memory") == ["612 MiB", "240 MiB (0.39×)", "240 MiB (0.39×)"]
    assert cells(text, "verdict") == ["passed", "TooSlow"]


def test_a_net_latency_lost_in_the_servers_own_is_no_number(a_report, make_candidate):
    timed = make_candidate(1).measurements.latency_milliseconds
    net = timed.model_copy(update={"net": Compared(source=0.2, value=0.0, ratio=0.0)})
    text = shown(tables.comparison(a_report(candidates=(make_candidate(1, latency_milliseconds=net),))))
    assert cells(text, "  net of the server")[1:] == ["not measurable"]


def test_a_net_latency_that_noise_does_not_tell_from_none_is_no_number_either(a_report, make_candidate):
    timed = make_candidate(1).measurements.latency_milliseconds
    lost = {"net": Compared(source=0.2, value=0.01, ratio=0.05), "net_ratio_low": 0.0, "net_ratio_high": 0.11}
    measured = make_candidate(1, latency_milliseconds=timed.model_copy(update=lost))
    text = shown(tables.comparison(a_report(candidates=(measured,))))
    assert cells(text, "  net of the server")[1:] == ["not measurable (at most 0.11×)"]


def test_the_candidate_that_is_served_is_marked(a_report):
    assert "★ 1 · TFLite" in shown(tables.comparison(a_report()))


@pytest.mark.parametrize("width", [100, 140])
def test_no_line_is_wider_than_the_terminal(a_report, make_candidate, width):
    report = a_report(candidates=tuple(make_candidate(index, passed=index < 3) for index in (1, 2, 3)))
    for table in (tables.comparison(report), tables.verdicts(report), tables.traffic(report.traffic)):
        assert max(map(len, shown(table, width).splitlines())) <= width


def test_a_warning_is_told_once_for_all_candidates_that_share_it(a_report, make_candidate):
    both = [make_candidate(index).model_copy(update={"warnings": ("prune: removes all of stem",)}) for index in (1, 2)]
    report = a_report(candidates=(*both, make_candidate(3)))
    assert list(tables.warnings(report)) == ["Warning: candidates 1, 2: prune: removes all of stem"]
    assert not list(tables.warnings(a_report()))


def test_verdicts_hold_what_was_refused_with_the_reason(a_report):
    text = shown(tables.verdicts(a_report()))
    assert "passed" in text
    assert "TooSlow: p95 latency is 1.21 x the source's, 1.1 x is allowed" in text
    assert "refused: NaN" in text
    assert "output note holds NaN in 12 of 32 rows" in text


def test_a_candidate_that_was_never_measured_has_dashes(a_report, make_candidate):
    broken = make_candidate(2, passed=False).model_copy(
        update={"measurements": Measurements(failure="DoesNotLoad", failure_message="no")}
    )
    text = shown(tables.comparison(a_report(candidates=(make_candidate(1), broken))))
    assert cells(text, "latency p95")[-1] == tables.ABSENT
    assert cells(text, "Accuracy scores")[-1] == tables.ABSENT


def test_a_value_that_is_no_number_is_called_nan(a_report, make_candidate):
    metric = make_candidate(1).measurements.metrics[0].model_copy(update={"value": None, "drop": None})
    text = shown(tables.comparison(a_report(candidates=(make_candidate(1, metrics=(metric,)),))))
    assert cells(text, "Accuracy scores") == ["0.7945", "NaN"]


def test_cached_requests_stand_beside_uncached_ones(a_report):
    text = shown(tables.traffic(a_report().traffic))
    assert cells(text, "uncached") == ["200", "8.4 ms", "9.9 ms"]
    assert cells(text, "cached ") == ["600", "0.31 ms", "0.44 ms"]
    assert cells(text, "cached / uncached") == ["0.037×", "0.044×"]


def test_trials_are_listed_with_what_is_offered_first_and_the_front_marked():
    common = {"form": "TFLite", "message": "", "metric": 0.9, "standard_error": 0.001}
    tried = (
        Trial(number=1, name="a", recipe="quantize Float16", verdict="DropTooLarge", drop=0.02, **common),
        Trial(
            number=2,
            name="b",
            recipe="quantize DynamicInt8",
            verdict="Passed",
            drop=0.001,
            size_ratio=0.2,
            net_ratio=0.1,
            front=True,
            candidate=1,
            **common,
        ),
    )
    assert list(tables.trial_rows(tried)) == [
        ("2 * (1)", "quantize DynamicInt8", "TFLite", "0.9", "+0.001 ± 0.001", "0.200×", "0.100×", "Passed"),
        ("1", "quantize Float16", "TFLite", "0.9", "+0.02 ± 0.001", "-", "-", "DropTooLarge"),
    ]


def test_what_makes_measurements_worth_little_is_told_of_the_source(a_report):
    source = a_report().source.model_copy(update={"warnings": ("Accuracy is 0.1, no better than chance",)})
    assert list(tables.warnings(a_report(source=source))) == ["Warning: Accuracy is 0.1, no better than chance"]


def test_a_trial_whose_net_latency_noise_does_not_tell_from_none_shows_its_bound():
    common = {"form": "TFLite", "message": "", "recipe": "quantize DynamicInt8", "verdict": "Passed", "is_net": True}
    lost, known = (
        Trial(number=number, name=str(number), net_ratio=0.02, net_low=low, net_high=0.045, **common)
        for number, low in ((1, 0.0), (2, 0.01))
    )
    assert [cells[-2] for cells in tables.trial_rows((lost, known))] == ["≤ 0.045×", "0.020×"]
