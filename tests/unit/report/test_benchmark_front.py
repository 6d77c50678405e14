"""benchmarks/pareto.py: the front of a search as a table."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from modelpress.api.trial import Trial

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import pareto


def trial(number, *, front=True, size=0.2, net=0.1, is_net=True, **fields):
    known = {"net_low": net - 0.01, "net_high": net + 0.01, "latency_ratio": 0.5, "metric": 0.91, "drop": 0.002}
    return Trial(
        **{
            **known,
            "number": number,
            "name": str(number),
            "recipe": f"recipe {number}",
            "form": "TFLite",
            "verdict": "Passed",
            "message": "",
            "size_ratio": size,
            "net_ratio": net,
            "is_net": is_net,
            "front": front,
            **fields,
        }
    )


def lines(*trials):
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(pareto.table(trials))
    return [line for line in console.file.getvalue().splitlines() if "TFLite" in line]


def test_the_fastest_of_the_front_goes_first_and_the_beaten_are_left_out():
    found = lines(trial(1, net=0.3, size=0.1), trial(2, front=False), trial(3, candidate=1, standard_error=0.001))
    assert [line.split("│")[-2].strip() for line in found] == ["recipe 3, TFLite", "recipe 1, TFLite"]
    cells = [cell.strip() for cell in found[0].split("│")]
    assert cells[1:6] == ["3 (1)", "0.9100", "+0.0020 (0.0010)", "0.200", "0.100 (0.090-0.110)"]


def test_gross_and_net_latencies_do_not_stand_in_one_column():
    (first, second) = lines(trial(1), trial(2, net=0.4, is_net=False))
    assert "0.400" in first and "recipe 2" in first
    assert "0.500" in second, "gross, as the other one has no net latency"


def test_there_is_no_table_where_nothing_passed():
    assert pareto.table([trial(1, front=False)]) is None
