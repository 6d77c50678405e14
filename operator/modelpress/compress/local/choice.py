"""Which of the measured candidates is served, and the sentence that says why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from modelpress.api.artifact import Refused
from modelpress.api.gate import Gate
from modelpress.api.measurement import LatencyMeasured
from modelpress.api.recipe import Recipe
from modelpress.compress.report.document import CandidateReport, Decision
from modelpress.status import wording


def choose(
    candidates: Sequence[CandidateReport], refused: Sequence[Refused], *, recipe: Recipe, gate: Gate, device: str
) -> Decision:
    """The fastest that passed where the form is open (`Auto` on CPU) and nothing else was to be made best.

    Else the engine's first that passed. What is faster only within noise does not overtake an earlier one.
    """
    passed = [one for one in candidates if one.verdict.passed]
    if not passed:
        return _none(candidates, refused, gate)
    objective = recipe.search.objective if recipe.search else "Latency"
    is_open = recipe.format == "Auto" and device == "CPU" and objective == "Latency"
    fastest = _fastest(passed) if is_open else passed
    winner = fastest[0]
    return Decision(
        serves="Candidate",
        candidate=winner.index,
        reason="Passed",
        message=f"Candidate {winner.index} is served, {_why(passed, fastest, is_open=is_open)}: "
        f"{winner.recipe} as {winner.form}{_gained(winner)}.",
    )


def _why(passed: Sequence[CandidateReport], fastest: Sequence[CandidateReport], *, is_open: bool) -> str:
    if not is_open or len(passed) == 1:
        return "it passed"
    if len(fastest) == 1:
        return "the fastest that passed"
    return f"the engine's first of {len(fastest)} that noise does not tell from the fastest"


class _Timed(NamedTuple):
    """Of one candidate: latency / source's, and its 95 % interval where that is known."""

    ratio: float
    low: float | None
    high: float | None


def _fastest(passed: Sequence[CandidateReport]) -> list[CandidateReport]:
    """Those that noise does not tell from the fastest, in the engine's order: net where all have it, else gross."""
    is_net = all(timed is not None and timed.net is not None for timed in map(_latency, passed))
    known = [_timed(_latency(one), is_net=is_net) for one in passed]
    first = min(known, key=lambda timed: timed.ratio)
    return [one for one, timed in zip(passed, known, strict=True) if not _is_faster(first, timed)]


def _latency(candidate: CandidateReport) -> LatencyMeasured | None:
    return candidate.measurements.latency_milliseconds


def _timed(latency: LatencyMeasured | None, *, is_net: bool) -> _Timed:
    """Against the source: the two were measured in turn, candidates at different times, maybe under other load.

    Gross by the median, which tells close candidates apart better than a tail does.
    """
    if latency is None:
        return _Timed(math.inf, None, None)
    if is_net and latency.net is not None:
        return _Timed(latency.net.ratio, latency.net_ratio_low, latency.net_ratio_high)
    return _Timed((latency.p50 or latency.gross).ratio, latency.ratio_low, latency.ratio_high)


def _is_faster(one: _Timed, other: _Timed) -> bool:
    """Beyond noise, where that is known."""
    return one.ratio < other.ratio and (one.high is None or other.low is None or one.high < other.low)


def _gained(winner: CandidateReport) -> str:
    size, timed = winner.measurements.size_bytes, winner.measurements.latency_milliseconds
    parts = [f"{wording.short(size.ratio)} of the size"] if size else []
    if timed:
        parts.append(f"{wording.short(timed.gross.ratio)}{_interval(timed)} of the p{timed.percentile} latency")
    return f", {' and '.join(parts)}" if parts else ""


def _interval(timed: LatencyMeasured) -> str:
    if timed.ratio_low is None or timed.ratio_high is None:
        return ""
    return f" ({timed.ratio_low:.2f} to {timed.ratio_high:.2f})"


def _none(candidates: Sequence[CandidateReport], refused: Sequence[Refused], gate: Gate) -> Decision:
    found = [f"candidate {one.index} ({one.recipe}, {one.form}): {one.verdict.message}" for one in candidates]
    found += [f"{one.recipe}, {one.form}, was refused: {one.message}" for one in refused if not candidates]
    said = (
        f"No candidate passed the gate: {'; '.join(found)}." if candidates else f"Nothing to serve: {'; '.join(found)}."
    )
    reason = "GateFailed" if candidates else "NoCandidate"
    if gate.on_failure == "ServeSource":
        return Decision(
            serves="Source", reason=reason, message=f"{said} The source is served, as gate.onFailure: ServeSource asks."
        )
    return Decision(
        serves="Nothing",
        reason=reason,
        message=f"{said} Nothing was running that could be kept; set gate.onFailure: ServeSource to serve the source.",
    )
