"""Tables of a run for a terminal: source beside candidates, verdicts, and latency with and without the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from modelpress.api.measurement import Compared, LatencyMeasured, Measurements, MetricMeasured
from modelpress.api.trial import PASSED, Trial
from modelpress.compress.report.document import CandidateReport, Decision, Report, Traffic, source_numbers
from modelpress.compress.search import front
from modelpress.status import wording

ABSENT = "-"
"""What `wording` says where there is no number."""
NOT_MEASURABLE = "not measurable"
"""Said of a latency net of the server that is lost in the server's own."""
RATIOS = "× is against the source, measured in turn with that candidate; the source's column is from the first one."
FRONT = "* on the front of metric, size and latency; (n) offered as candidate n; latency is net of the server."
"""What the marks of the trials mean."""
Row = tuple[str, list[str]]


def comparison(report: Report) -> Table:
    """One column for the source, one for each candidate; one row for each number."""
    table = Table(
        title=f"{report.name}: source beside candidates",
        caption=RATIOS,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
    )
    table.add_column("")
    table.add_column("source", justify="right")
    for candidate in report.candidates:
        is_served = candidate.index == report.decision.candidate
        heading = f"{'★ ' if is_served else ''}{candidate.index} · {candidate.form}"
        table.add_column(heading, justify="right", style="bold" if is_served else "")
    for name, cells in rows(report):
        table.add_row(name, *cells)
    table.add_row(
        "verdict",
        "",
        *(
            Text("passed", "green") if one.verdict.passed else Text(one.verdict.reason, "red")
            for one in report.candidates
        ),
    )
    return table


def rows(report: Report) -> Iterator[Row]:
    """Name, then the cell of the source, then those of the candidates; the same for terminal and page."""
    candidates = [one.measurements for one in report.candidates]
    source = source_numbers(report)
    yield "recipe", [report.source.format, *(one.recipe for one in report.candidates)]
    yield (
        "size",
        [
            wording.size(report.source.size_bytes),
            *(_compared(one.size_bytes, wording.size) for one in candidates),
        ],
    )
    yield from _latency_rows(source, candidates)
    for index, metric in enumerate(source.metrics if source else ()):
        yield from _metric_rows(metric, [_at(one.metrics, index) for one in candidates])
    yield (
        "peak memory",
        [
            wording.size(source.memory_bytes.source) if source and source.memory_bytes else ABSENT,
            *(_compared(one.memory_bytes, wording.size) for one in candidates),
        ],
    )


def _latency_rows(source: Measurements | None, candidates: list[Measurements]) -> Iterator[Row]:
    timed = source.latency_milliseconds if source else None
    if timed is None:
        return
    batch = f", {timed.batch_size} rows" if timed.batch_size > 1 else ""
    latencies = [one.latency_milliseconds for one in candidates]
    if timed.p50 and timed.percentile != 50:
        cells = [_compared(one.p50 if one else None, wording.milliseconds) for one in latencies]
        yield f"latency p50{batch}", [wording.milliseconds(timed.p50.source), *cells]
    if timed.net:
        cells = [_net(one) for one in latencies]
        yield f"  net of the server{batch}", [wording.milliseconds(timed.net.source), *cells]
    yield (
        f"latency p{timed.percentile}{batch}",
        [wording.milliseconds(timed.gross.source), *(_gross(one) for one in latencies)],
    )
    yield "  95 % interval", ["", *(_interval(one) for one in latencies)]


def _metric_rows(first: MetricMeasured, measured: list[MetricMeasured | None]) -> Iterator[Row]:
    name = f"{first.type} {first.output}" if first.output and first.type != "Fidelity" else first.type
    yield name, [wording.short(first.source), *(_value(one) for one in measured)]
    yield "  drop ± se", ["", *(_drop(one) for one in measured)]
    if any(one and one.agreement is not None for one in measured):
        yield "  agreement", ["", *(wording.short(one.agreement if one else None) for one in measured)]


def _at(metrics: tuple[MetricMeasured, ...], index: int) -> MetricMeasured | None:
    return metrics[index] if index < len(metrics) else None


def _compared(compared: Compared | None, show: Callable[[float], str]) -> str:
    return f"{show(compared.value)} ({compared.ratio:.2f}×)" if compared else ABSENT


def _gross(latency: LatencyMeasured | None) -> str:
    return _compared(latency.gross if latency else None, wording.milliseconds)


def _net(latency: LatencyMeasured | None) -> str:
    """A number only where noise tells it from none."""
    net = latency.net if latency else None
    if latency is None or net is None or (net.value > 0 and latency.net_ratio_low != 0):
        return _compared(net, wording.milliseconds)
    most = "" if latency.net_ratio_high is None else f" (at most {latency.net_ratio_high:.2f}×)"
    return f"{NOT_MEASURABLE}{most}"


def _interval(latency: LatencyMeasured | None) -> str:
    if latency is None or latency.ratio_low is None or latency.ratio_high is None:
        return ABSENT
    return f"{latency.ratio_low:.2f}–{latency.ratio_high:.2f}×"


def _value(metric: MetricMeasured | None) -> str:
    if metric is None:
        return ABSENT
    return "NaN" if metric.value is None else wording.short(metric.value)


def _drop(metric: MetricMeasured | None) -> str:
    if metric is None or metric.drop is None:
        return ABSENT
    error = "" if metric.standard_error is None else f" ± {metric.standard_error:.2g}"
    return f"{metric.drop:+.2g}{error}"


def verdicts(report: Report) -> Table:
    """Every candidate and everything that was refused on the way, with the reason."""
    table = Table(title="verdicts", box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, expand=False)
    for name, options in (
        ("", {}),
        ("recipe", {}),
        ("form", {}),
        ("verdict", {"no_wrap": True}),
        ("why", {"ratio": 1}),
    ):
        table.add_column(name, **options)
    for number, recipe, form, verdict, why in verdict_rows(report):
        table.add_row(number, recipe, form, Text(verdict, "green" if verdict == "passed" else "red"), why)
    return table


def verdict_rows(report: Report) -> Iterator[tuple[str, str, str, str, str]]:
    """Number, recipe, form, verdict, reason."""
    for one in report.candidates:
        verdict = "passed" if one.verdict.passed else "failed"
        yield str(one.index), one.recipe, one.form, verdict, _why(one)
    for refused in report.refused:
        said = "refused: NaN" if refused.reason == "NotFinite" else f"refused: {refused.reason}"
        yield ABSENT, refused.recipe, refused.form, said, refused.message


def _why(candidate: CandidateReport) -> str:
    if candidate.verdict.passed:
        return candidate.verdict.message
    return f"{candidate.verdict.reason}: {candidate.verdict.message}"


def trials(tried: Sequence[Trial]) -> Table:
    """Every recipe that a search tried, those that are offered first."""
    table = Table(
        title="trials of the search", caption=FRONT, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left"
    )
    for heading in ("", "recipe", "form", "metric", "drop", "size", "latency", "verdict"):
        numeric = heading in ("metric", "drop", "size", "latency")
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=heading in ("", "verdict"))
    for *cells, verdict in trial_rows(tried):
        table.add_row(*cells, Text(verdict, "green" if verdict == PASSED else "red"))
    return table


def trial_rows(tried: Sequence[Trial]) -> Iterator[tuple[str, ...]]:
    """Number and marks, recipe, form, metric, drop, size, latency, verdict."""
    for one in front.offered_first(front.alike(tried)):
        marks = f"{one.number}{' *' if one.front else ''}{f' ({one.candidate})' if one.candidate else ''}"
        error = "" if one.standard_error is None else f" ± {one.standard_error:.2g}"
        yield (
            marks,
            one.recipe,
            one.form,
            wording.short(one.metric),
            ABSENT if one.drop is None else f"{one.drop:+.2g}{error}",
            _share(one.size_ratio),
            _latency(one),
            one.verdict,
        )


def _latency(trial: Trial) -> str:
    """At most so much, where noise does not tell the net latency from none."""
    if trial.is_net and trial.net_low == 0 and trial.net_high is not None:
        return f"≤ {_share(trial.net_high)}"
    return _share(trial.net_ratio)


def _share(ratio: float | None) -> str:
    return ABSENT if ratio is None else f"{ratio:.3f}×"


def warnings(report: Report) -> Iterator[str]:
    """What makes measurements worth little, and what recipes did that the user will hardly have wanted.

    Once, where several candidates share it.
    """
    for warning in report.source.warnings:
        yield f"Warning: {warning}"
    by_text: dict[str, list[int]] = {}
    for one in report.candidates:
        for warning in one.warnings:
            by_text.setdefault(warning, []).append(one.index)
    for text, indexes in by_text.items():
        plural = "s" if len(indexes) > 1 else ""
        yield f"Warning: candidate{plural} {', '.join(map(str, indexes))}: {text}"


def traffic(measured: Traffic) -> Table:
    """Latency of real requests through the sidecar."""
    table = Table(
        title="through the sidecar, one request at a time", box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
    )
    table.add_column("")
    for heading in ("requests", "p50", "p95"):
        table.add_column(heading, justify="right")
    for cells in traffic_rows(measured):
        table.add_row(*cells)
    return table


def traffic_rows(measured: Traffic) -> Iterator[tuple[str, str, str, str]]:
    """Name, requests, p50, p95."""
    for name, times in (("uncached", measured.uncached), ("cached", measured.cached)):
        if times:
            yield name, str(times.requests), wording.milliseconds(times.p50), wording.milliseconds(times.p95)
    if measured.uncached and measured.cached:
        before, after = measured.uncached, measured.cached
        yield "cached / uncached", "", f"{after.p50 / before.p50:.3f}×", f"{after.p95 / before.p95:.3f}×"


def decision(decided: Decision) -> Text:
    """The last sentence."""
    colour = {"Candidate": "green", "Source": "yellow", "Nothing": "red"}[decided.serves]
    return Text(decided.message, f"bold {colour}")
