"""What a search without a recipe finds for real models, and what recipes make of them, beside the naive ways.

    python benchmarks/compression.py [--models vgg,resnet20] [--store FOLDER] [--timeout 10m] [--report FOLDER]

A model with the suffix `_labels` is searched with labelled training data, so that the search may train; that takes up
to 90 minutes. One with the suffix `_recipe` is an example, with the steps and the gate of its own file. With --store, a
run that was ended goes on where it was. With --report, the page of each row, with its Pareto front drawn, is written to
FOLDER/<model>/report.html.

The naive ways are the plain dynamic-range conversion of tf.lite, and TFMOT's magnitude pruning alone. Latency is that
of single rows at one server thread through a model server: net (less what the server itself takes) and gross. The
source, what was found and the naive ways take turns in one window of time, so that their ratios can be compared, and
all servers are started anew six times: what is told is the median of the six and, as a 97 % interval, their range.

The last line is one JSON object, a member for each model; null is what could not be measured, e.g. where tf.lite cannot
convert a model. Ends with 1 where a search missed what it has to reach: the row says what.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.append(str(Path(__file__).resolve().parent))

import bounds
import pareto
import printed
import window
from nets import cases, naive
from rich.console import Console

from modelpress.api import duration
from modelpress.api.artifact import Candidate, Refused
from modelpress.api.data import Data
from modelpress.api.gate import Gate
from modelpress.api.measurement import Measurements
from modelpress.api.recipe import Recipe
from modelpress.api.request import Request, Target
from modelpress.api.source import Source
from modelpress.compress import engine
from modelpress.compress.engine import Compressed
from modelpress.compress.evaluation import examples
from modelpress.compress.local import likeness
from modelpress.compress.local.measuring import Measuring
from modelpress.compress.report.document import CandidateReport, Judgement
from modelpress.status import gate
from modelpress.telemetry import progress

TRIALS = 20
WIDTH = 160
SOURCE = {
    "drop": 0.0,
    "size": 1.0,
    "latency": 1.0,
    "gross_latency": 1.0,
    "latency_low": 1.0,
    "latency_high": 1.0,
}
"""What is told where the source has to serve."""


def main() -> None:
    """Run the models that were asked for."""
    arguments = _arguments()
    console = Console(stderr=True)
    found = {}
    with _folder(arguments.store) as store:
        for name in arguments.models.split(","):
            case = cases.prepared(name)
            if arguments.timeout and case.recipe is None:
                case = case._replace(timeout=arguments.timeout)
            found[name] = _compared(name, case, store, arguments.report, Console(width=WIDTH), progress.on(console))
    print(json.dumps(found))
    sys.exit(1 if any(row["missed"] for row in found.values()) else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(cases.names()), help="names, separated by commas")
    parser.add_argument("--store", type=Path, help="folder for the results; absent: a new one that is deleted")
    parser.add_argument("--timeout", help="of each search, e.g. 10m; absent: 15m to 90m, by model")
    parser.add_argument("--report", type=Path, help="folder for a page of each search, with its Pareto front drawn")
    return parser.parse_args()


@contextlib.contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="modelpress-compression-") as folder:
        yield Path(folder)


def _compared(
    name: str, case: cases.Case, store: Path, pages: Path | None, console: Console, told: progress.Progress
) -> dict[str, Any]:
    request = _request(name, case, store)
    began, now = time.monotonic(), int(time.time())
    done = engine.compress(request, progress=told, now=now)
    own = time.monotonic() - began if done.manifest.created == now else None
    others = naive.candidates(done)
    rows = examples.evaluation_rows(request)
    with tempfile.TemporaryDirectory(prefix="modelpress-logs-") as logs:
        with Measuring(request, done.manifest, rows, name=name, logs=Path(logs), progress=told) as measuring:
            best = _best(done, measuring, is_search=case.recipe is None)
            plain = [(one, measuring.candidate(one)) for one in others if isinstance(one, Candidate)]
        answering = [
            candidate for candidate, report in (*best, *plain) if report.measurements.latency_milliseconds is not None
        ]
        taken = window.measured(request, done, answering, rows, Path(logs) / "window", told)
    found, ways = ([_judged(report, taken, request.gate) for _, report in some] for some in (best, plain))
    figures = _figures(found, ways, done, own)
    figures["missed"] = _missed(case, figures, found, ways, taken, own) if case.recipe is None else []
    _tell(name, case, done, found, ways, taken, console)
    for refused in (one for one in others if isinstance(one, Refused)):
        console.print(f"  naive: {refused.recipe}: {refused.reason}: {refused.message}", soft_wrap=True)
    for sentence in figures["missed"]:
        console.print(f"  MISSED: {sentence}", soft_wrap=True)
    printed.show_trials(done.manifest.trials, console)
    if pages is not None:
        console.print(f"  report: {pareto.write(pages, request, done, found, ways)}", soft_wrap=True)
    return figures


def _tell(
    name: str,
    case: cases.Case,
    done: Compressed,
    found: list[CandidateReport],
    ways: list[CandidateReport],
    taken: window.Window,
    console: Console,
) -> None:
    way = "search" if case.recipe is None else "recipe"
    printed.show(name, way, found, ways, console)
    printed.compare(way, found, ways, taken, console)
    for refused in done.manifest.refused if case.recipe is not None else ():
        console.print(f"  recipe: {refused.form}: {refused.reason}: {refused.message}", soft_wrap=True)


def _request(name: str, case: cases.Case, store: Path) -> Request:
    recipe = case.recipe or {"search": {"trials": TRIALS, "timeout": case.timeout}}
    latency = {**case.limits.get("latency", {}), "percentile": 50}
    return Request(
        name=name.replace("_", "-"),
        source=Source(uri=str(case.source)),
        data=Data.model_validate(case.data),
        recipe=Recipe.model_validate(recipe),
        gate=Gate.model_validate({**case.limits, "metrics": case.metrics, "latency": latency}),
        target=Target(threads=1, concurrency=1),
        store=str(store),
    )


def _best(done: Compressed, measuring: Measuring, *, is_search: bool) -> list[tuple[Candidate, CandidateReport]]:
    """The first candidate that passes when it is measured again, for longer.

    Where none does, the source has to serve: nothing, or what a recipe that was asked for made, to be looked at.
    """
    measured = []
    for candidate in done.manifest.candidates:
        report = measuring.candidate(candidate)
        if report.verdict.passed:
            return [(candidate, report)]
        measured.append((candidate, report))
    return [] if is_search else measured[:1]


def _judged(report: CandidateReport, taken: window.Window, limits: Gate) -> CandidateReport:
    """The report with the latency of the window, judged again."""
    if not taken.holds(report.index):
        return report
    measured = report.measurements.model_copy(update={"latency_milliseconds": taken.beside_source(report.index)})
    stand_in = likeness.stand_in(report.server)
    verdict = gate.judge(measured, limits, samples=report.samples, stand_in=stand_in)
    return report.model_copy(
        update={
            "measurements": measured,
            "verdict": Judgement(passed=verdict.passed, reason=verdict.reason, message=verdict.message),
        }
    )


def _figures(
    found: list[CandidateReport], ways: list[CandidateReport], done: Compressed, own: float | None
) -> dict[str, Any]:
    best = next((_ratios(one.measurements) for one in found if one.verdict.passed), SOURCE)
    dynamic = next((_ratios(one.measurements) for one in ways if one.recipe == naive.DYNAMIC), {})
    seconds = bounds.spent(own, [trial.seconds for trial in done.manifest.trials], is_resumed=done.reused > 0)
    return {
        **best,
        "naive_size": dynamic.get("size"),
        "naive_latency": dynamic.get("latency"),
        "trials": len(done.manifest.trials),
        "seconds": None if seconds is None else round(seconds, 1),
    }


def _ratios(measured: Measurements) -> dict[str, float | None]:
    metric, timed = (measured.metrics[0] if measured.metrics else None), measured.latency_milliseconds
    found = {
        "drop": 100 * metric.drop if metric and metric.drop is not None else None,
        "size": measured.size_bytes.ratio if measured.size_bytes else None,
        "latency": timed.net.ratio if timed and timed.net else None,
        "gross_latency": timed.p50.ratio if timed and timed.p50 else None,
        "latency_low": timed.net_ratio_low if timed else None,
        "latency_high": timed.net_ratio_high if timed else None,
    }
    return {name: None if value is None else round(value, 4) for name, value in found.items()}


def _missed(
    case: cases.Case,
    figures: dict[str, Any],
    found: list[CandidateReport],
    ways: list[CandidateReport],
    taken: window.Window,
    own: float | None,
) -> list[str]:
    """What the search had to reach and did not, a sentence each."""
    beside = _beside(found, [one for one in ways if one.verdict.passed and taken.holds(one.index)], taken)
    missed = [*bounds.slower(beside)]
    if own is not None:
        missed += bounds.late(own, duration.seconds(case.timeout))
    if case.required is not None:
        missed += bounds.beyond(figures["size"], figures["latency"], case.required)
    return missed


def _beside(found: list[CandidateReport], ways: list[CandidateReport], taken: window.Window) -> dict[str, bounds.Span]:
    """What serves in the end beside each naive way: what was found, else the source."""
    best = next((one for one in found if one.verdict.passed), None)
    beside = {}
    for way in ways:
        if best is None:
            span = bounds.span(taken.beside_source(way.index))
            span = span.inverse if span else None
        else:
            span = bounds.span(taken.beside(best.index, way.index))
        if span is not None:
            beside[way.recipe] = span
    return beside


if __name__ == "__main__":
    main()
