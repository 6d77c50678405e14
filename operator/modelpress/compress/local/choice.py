"""Which of the measured candidates is served, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence

from modelpress.api.artifact import Refused
from modelpress.api.gate import Gate
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
    winner = passed[0]
    for challenger in passed[1:] if is_open else ():
        winner = challenger if _is_faster(challenger, winner) else winner
    why = "the fastest that passed" if is_open and len(passed) > 1 else "it passed"
    return Decision(
        serves="Candidate",
        candidate=winner.index,
        reason="Passed",
        message=f"Candidate {winner.index} is served, {why}: {winner.recipe} as {winner.form}{_gained(winner)}.",
    )


def _latency(candidate: CandidateReport) -> float:
    """Median latency / source's: the two were measured in turn, candidates at different times, maybe under other load.

    A median tells close candidates apart better than a tail does.
    """
    timed = candidate.measurements.latency_milliseconds
    if timed is None:
        return float("inf")
    return (timed.p50 or timed.gross).ratio


def _is_faster(one: CandidateReport, other: CandidateReport) -> bool:
    """Beyond noise, where that is known."""
    (_, high), (low, _) = _interval(one), _interval(other)
    return _latency(one) < _latency(other) and (high is None or low is None or high < low)


def _interval(candidate: CandidateReport) -> tuple[float | None, float | None]:
    """95 % interval of the ratio, net where that is known."""
    timed = candidate.measurements.latency_milliseconds
    if timed is None:
        return None, None
    return (timed.net_ratio_low, timed.net_ratio_high) if timed.net else (timed.ratio_low, timed.ratio_high)


def _gained(winner: CandidateReport) -> str:
    size, timed = winner.measurements.size_bytes, winner.measurements.latency_milliseconds
    parts = [f"{wording.short(size.ratio)} of the size"] if size else []
    if timed:
        parts.append(f"{wording.short(timed.gross.ratio)} of the p{timed.percentile} latency")
    return f", {' and '.join(parts)}" if parts else ""


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
