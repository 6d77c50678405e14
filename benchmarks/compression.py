"""What a search without a recipe finds for real models, beside the naive ways, measured through a model server.

    python benchmarks/compression.py [--models vgg,resnet20] [--store FOLDER] [--timeout 10m]

A model with the suffix `_labels` is searched with labelled training data, so that the search may train; that takes up
to 90 minutes. With --store, a run that was ended goes on where it was.

The naive ways are the plain dynamic-range conversion of tf.lite, and TFMOT's magnitude pruning alone. Latency is that
of single rows at one server thread: net (less what the server itself takes) and gross. The last line is one JSON
object, a member for each model; null is what could not be measured, e.g. where tf.lite cannot convert a model.
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

from nets import cases, naive
from rich.console import Console
from rich.table import Table

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
from modelpress.compress.local.measuring import Measuring
from modelpress.compress.report.document import CandidateReport
from modelpress.telemetry import progress

TRIALS = 20
WIDTH = 140


def main() -> None:
    """Run the models that were asked for."""
    arguments = _arguments()
    console = Console(stderr=True)
    found = {}
    with _folder(arguments.store) as store:
        for name in arguments.models.split(","):
            case = cases.prepared(name)
            if arguments.timeout:
                case = case._replace(timeout=arguments.timeout)
            found[name] = _compared(name, case, store, Console(width=WIDTH), progress.on(console))
    print(json.dumps(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(cases.names()), help="names, separated by commas")
    parser.add_argument("--store", type=Path, help="folder for the results; absent: a new one that is deleted")
    parser.add_argument("--timeout", help="of each search, e.g. 10m; absent: 15m to 90m, by model")
    return parser.parse_args()


@contextlib.contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="modelpress-compression-") as folder:
        yield Path(folder)


def _compared(name: str, case: cases.Case, store: Path, console: Console, told: progress.Progress) -> dict[str, Any]:
    request = _request(name, case, store)
    began = time.monotonic()
    done = engine.compress(request, progress=told, now=int(time.time()))
    seconds = time.monotonic() - began
    others = naive.candidates(done)
    with (
        tempfile.TemporaryDirectory(prefix="modelpress-logs-") as logs,
        Measuring(
            request, done.manifest, examples.evaluation_rows(request), name=name, logs=Path(logs), progress=told
        ) as measuring,
    ):
        best = _best(done, measuring)
        plain = [measuring.candidate(one) for one in others if isinstance(one, Candidate)]
    _show(name, best, plain, console)
    for refused in (one for one in others if isinstance(one, Refused)):
        console.print(f"  naive: {refused.recipe}: {refused.reason}: {refused.message}", soft_wrap=True)
    for trial in done.manifest.trials:
        console.print(
            f"  {trial.number:2} {trial.recipe}, {trial.form}: {trial.verdict}: {trial.message}", soft_wrap=True
        )
    return _figures(best, plain, len(done.manifest.trials), seconds)


def _request(name: str, case: cases.Case, store: Path) -> Request:
    return Request(
        name=name.replace("_", "-"),
        source=Source(uri=str(case.source)),
        data=Data.model_validate(case.data),
        recipe=Recipe.model_validate({"search": {"trials": TRIALS, "timeout": case.timeout}}),
        gate=Gate.model_validate({"metrics": case.metrics, "latency": {"percentile": 50}}),
        target=Target(threads=1, concurrency=1),
        store=str(store),
    )


def _best(done: Compressed, measuring: Measuring) -> CandidateReport | None:
    """The first candidate that passes when it is measured again, for longer; None where the source has to serve."""
    for candidate in done.manifest.candidates:
        report = measuring.candidate(candidate)
        if report.verdict.passed:
            return report
    return None


def _show(name: str, best: CandidateReport | None, plain: list[CandidateReport], console: Console) -> None:
    table = Table(title=name, title_justify="left")
    for heading in ("", "metric", "drop, points (se)", "size", "net latency", "gross latency", "verdict"):
        table.add_column(heading, justify="left" if heading in ("", "verdict") else "right")
    first = next((one.measurements for one in (best, *plain) if one and one.measurements.metrics), None)
    if first is not None:
        timed = first.latency_milliseconds
        net, gross = (
            f"{one.source:.2f} ms" if one else "-" for one in ((timed.net, timed.p50) if timed else (None, None))
        )
        size = f"{first.size_bytes.source / 1e6:.2f} MB" if first.size_bytes else "-"
        table.add_row("source", f"{first.metrics[0].source or 1:.4f}", "", size, net, gross, "")
    for title, one in (("search", best), *((f"naive: {one.recipe}", one) for one in plain)):
        if one is None:
            table.add_row(title, *["-"] * 5, "nothing passed: the source serves")
            continue
        table.add_row(
            f"{title}: {one.recipe}, {one.form}" if one is best else title,
            *_cells(one.measurements),
            one.verdict.reason,
        )
    console.print(table)


def _cells(measured: Measurements) -> list[str]:
    metric, timed = (measured.metrics[0] if measured.metrics else None), measured.latency_milliseconds
    return [
        f"{metric.value:.4f}" if metric and metric.value is not None else "NaN",
        f"{100 * metric.drop:+.2f} ({100 * (metric.standard_error or 0):.2f})"
        if metric and metric.drop is not None
        else "-",
        f"{measured.size_bytes.ratio:.3f}" if measured.size_bytes else "-",
        f"{timed.net.ratio:.3f} ({timed.net_ratio_low:.3f}-{timed.net_ratio_high:.3f})" if timed and timed.net else "-",
        f"{timed.p50.ratio:.3f}" if timed and timed.p50 else "-",
    ]


def _figures(best: CandidateReport | None, plain: list[CandidateReport], trials: int, seconds: float) -> dict[str, Any]:
    found = _ratios(best.measurements) if best else {"drop": 0.0, "size": 1.0, "latency": 1.0, "gross_latency": 1.0}
    dynamic = next((_ratios(one.measurements) for one in plain if one.recipe == naive.DYNAMIC), {})
    return {
        **found,
        "naive_size": dynamic.get("size"),
        "naive_latency": dynamic.get("latency"),
        "trials": trials,
        "seconds": round(seconds, 1),
    }


def _ratios(measured: Measurements) -> dict[str, float | None]:
    metric, timed = (measured.metrics[0] if measured.metrics else None), measured.latency_milliseconds
    return {
        "drop": round(100 * metric.drop, 3) if metric and metric.drop is not None else None,
        "size": round(measured.size_bytes.ratio, 4) if measured.size_bytes else None,
        "latency": round(timed.net.ratio, 4) if timed and timed.net else None,
        "gross_latency": round(timed.p50.ratio, 4) if timed and timed.p50 else None,
    }


if __name__ == "__main__":
    main()
