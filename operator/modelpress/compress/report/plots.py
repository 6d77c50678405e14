"""Plots of a run as SVG text: what each candidate costs, and what it loses, beside what is allowed."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelpress.api.gate import Gate
from modelpress.api.measurement import LatencyMeasured
from modelpress.api.trial import Trial
from modelpress.compress.report.document import CandidateReport, Report, ratio
from modelpress.compress.search import front
from modelpress.status.gate import DEFAULT_MAX_DROP

PASSED, FAILED, LIMIT, SOURCE = "#2a7f62", "#b5533c", "#444444", "#888888"
ALPHAS = (1.0, 0.7, 0.45)


def costs(report: Report) -> str:
    """Size, latency and memory of each candidate as shares of the source's, with the gate's limits."""
    figure = Figure(figsize=(7.5, 0.9 + 0.75 * len(report.candidates)), layout="constrained")
    axes = figure.subplots()
    names = ("size", "latency", "memory")
    for position, candidate in enumerate(report.candidates):
        measured = candidate.measurements
        latency = measured.latency_milliseconds
        ratios = (ratio(measured.size_bytes), ratio(latency.gross if latency else None), ratio(measured.memory_bytes))
        for offset, (name, value) in enumerate(zip(names, ratios, strict=True)):
            if value is None:
                continue
            height = position + 0.25 * (offset - 1)
            spread = _spread(latency, value) if name == "latency" else None
            axes.barh(
                height,
                value,
                0.22,
                color=_colour(candidate),
                alpha=ALPHAS[offset],
                xerr=spread,
                ecolor=LIMIT,
                capsize=2,
            )
            axes.annotate(
                f" {name} {value:.2f}×",
                (value if spread is None else value + spread[1][0], height),
                va="center",
                size=8,
            )
    axes.axvline(1, color=SOURCE, linewidth=1, linestyle=":")
    _label_candidates(axes, report.candidates)
    axes.set_xlim(0, max(axes.get_xlim()[1], 1.05) * 1.2)
    axes.set_xlabel("share of the source's (dotted: the source)")
    return _svg(figure)


def pareto(trials: Sequence[Trial]) -> str | None:
    """Size against latency of every trial that was measured, the front joined; None where there are too few."""
    drawn = [one for one in front.alike(trials) if one.net_ratio is not None and one.size_ratio is not None]
    if len(drawn) < 2:
        return None
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for one in drawn:
        axes.errorbar(
            one.net_ratio or 0.0,
            one.size_ratio or 0.0,
            xerr=_interval(one),
            fmt="o" if one.passed else "x",
            color=PASSED if one.passed else FAILED,
            capsize=2,
        )
        axes.annotate(f" {one.number}", (one.net_ratio or 0.0, one.size_ratio or 0.0), size=8, va="bottom")
    joined = sorted((one.net_ratio or 0.0, one.size_ratio or 0.0) for one in drawn if one.front)
    if joined:
        axes.plot(*zip(*joined, strict=True), color=PASSED, linewidth=1, linestyle="--", zorder=0)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    measured = "net latency" if any(one.is_net for one in drawn) else "latency"
    axes.set_xlabel(f"{measured}, share of the source's (dots passed, crosses did not; dashed: the front)")
    axes.set_ylabel("size, share of the source's")
    return _svg(figure)


def _interval(trial: Trial) -> list[list[float]] | None:
    if trial.net_ratio is None or trial.net_low is None or trial.net_high is None or not math.isfinite(trial.net_high):
        return None
    return [[max(0.0, trial.net_ratio - trial.net_low)], [max(0.0, trial.net_high - trial.net_ratio)]]


def losses(report: Report) -> str | None:
    """Drop of each metric with twice its standard error; None where no drop was measured."""
    drawn = [
        (candidate, index)
        for candidate in report.candidates
        for index, metric in enumerate(candidate.measurements.metrics)
        if metric.drop is not None
    ]
    if not drawn:
        return None
    count = max(len(candidate.measurements.metrics) for candidate in report.candidates)
    figure = Figure(figsize=(7.5, 0.9 * count + 0.45 * count * len(report.candidates)), layout="constrained")
    panels = figure.subplots(count, 1, squeeze=False)[:, 0]
    for index, axes in enumerate(panels):
        _losses_of(axes, report, index)
    return _svg(figure)


def _losses_of(axes: Axes, report: Report, index: int) -> None:
    title = ""
    for position, candidate in enumerate(report.candidates):
        metrics = candidate.measurements.metrics
        if index >= len(metrics) or (drop := metrics[index].drop) is None:
            continue
        metric = metrics[index]
        title = f"{metric.type} {metric.output}" if metric.output else metric.type
        error = 2 * metric.standard_error if metric.standard_error is not None else 0
        axes.errorbar(drop, position, xerr=error, fmt="o", color=_colour(candidate), capsize=3)
    allowed = _allowed(report.gate, index)
    if allowed is not None:
        axes.axvline(allowed, color=LIMIT, linewidth=1, linestyle="--")
    axes.axvline(0, color=SOURCE, linewidth=1, linestyle=":")
    _label_candidates(axes, report.candidates)
    axes.set_xlabel(f"drop of {title}, ± 2 standard errors" + (" (dashed: allowed)" if allowed is not None else ""))


def _allowed(limits: Gate, index: int) -> float | None:
    """The absolute drop that the gate allows; None where it limits otherwise."""
    if index >= len(limits.metrics):
        return None
    metric = limits.metrics[index]
    if metric.max_drop is not None:
        return metric.max_drop
    others = (metric.max_drop_ratio, metric.min, metric.max)
    return DEFAULT_MAX_DROP if others == (None, None, None) and metric.type != "MeanAbsoluteError" else None


def _label_candidates(axes: Axes, candidates: Sequence[CandidateReport]) -> None:
    axes.set_yticks(range(len(candidates)), [f"{one.index} · {one.form}" for one in candidates])
    axes.set_ylim(len(candidates) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _spread(latency: LatencyMeasured | None, value: float) -> list[list[float]] | None:
    if latency is None or latency.ratio_low is None or latency.ratio_high is None:
        return None
    return [[max(0.0, value - latency.ratio_low)], [max(0.0, latency.ratio_high - value)]]


def _colour(candidate: CandidateReport) -> str:
    return PASSED if candidate.verdict.passed else FAILED


def _svg(figure: Figure) -> str:
    """The figure without XML prologue, ready for a page; the same input gives the same bytes."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]
