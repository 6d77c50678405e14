"""Which trials are worth keeping: the Pareto front of metric, size and latency, and the few to be offered. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from modelpress.api.trial import Trial
from modelpress.status import wording

LIMIT = 3
"""Candidates of an artifact."""
PROCESS_TIE = 1.05
"""Times in the engine's own process that differ by less, as a factor, are equal; they are known to 2 %."""
SIZE_TIE = 0.01
"""Sizes that differ by less, as a share, are equal."""
_COSTLY = frozenset({"TooLarge", "TooSlow", "TooMuchMemory"})
"""Verdicts that fewer filters or bits may change, and more precision cannot."""


def marked(trials: Sequence[Trial], offered: Sequence[Trial]) -> tuple[Trial, ...]:
    """The trials, told whether they are on the front, and as which candidate they are offered."""
    numbers = {trial.number: place for place, trial in enumerate(offered, start=1)}
    # What is offered first may be beaten by numbers, but only within their noise.
    on_front = {trial.number for trial in [*pareto(trials), *offered[:1]] if trial.passed}
    return tuple(
        trial.model_copy(update={"front": trial.number in on_front, "candidate": numbers.get(trial.number)})
        for trial in trials
    )


def pareto(trials: Sequence[Trial]) -> list[Trial]:
    """Those that passed and that no other that passed beats."""
    passed = _passed(trials)
    kept = {one.number for one in passed if not any(_beats(other, one) for other in passed)}
    return [trial for trial in trials if trial.number in kept]


def offered(trials: Sequence[Trial], objective: str, limit: int = LIMIT) -> list[Trial]:
    """At most `limit` to be kept, the best first: by the objective, the last place for the most faithful.

    Where none passed, those that came nearest.
    """
    passed = _passed(trials)
    if not passed:
        return sorted((trial for trial in trials if trial.metric is not None), key=_distance)[:limit]
    tried = {trial.number: trial for trial in trials}
    ranked = [tried[one.number] for one in _ranked(passed, objective)]
    front = {trial.number for trial in pareto(trials)}
    chosen = ranked[:1] + [trial for trial in ranked[1:] if trial.number in front]
    faithful = min(ranked, key=_drop)
    if faithful not in chosen[:limit]:
        chosen[limit - 1 :] = [faithful]
    return chosen[:limit]


def best(trials: Sequence[Trial], objective: str) -> Trial | None:
    """The first of what would be offered among those that passed; None where none did."""
    passed = _passed(trials)
    first = _ranked(passed, objective)[0].number if passed else None
    return next((trial for trial in trials if trial.number == first), None)


def is_accurate(trial: Trial) -> bool:
    """Whether it keeps the metrics, as far as is known: it passed, or takes too much of what else is limited.

    The gate looks at metrics first, so that what they miss would be the verdict.
    """
    return trial.passed or trial.verdict in _COSTLY


def is_lossless(trial: Trial) -> bool:
    """Whether it loses nothing that the rows could tell, so that the whole of the gate's allowance is left."""
    return _drop(trial) <= 2 * (trial.standard_error or 0.0)


def alike(trials: Sequence[Trial]) -> list[Trial]:
    """With a `net_ratio` that can be compared: net where all that passed have one, else gross in all of them."""
    if all(trial.is_net or trial.net_ratio is None for trial in trials if trial.passed):
        return list(trials)
    gross = {"net_ratio": "latency_ratio", "net_low": "latency_low", "net_high": "latency_high"}
    return [
        trial.model_copy(update={"is_net": False} | {to: getattr(trial, of) for to, of in gross.items()})
        if trial.is_net
        else trial
        for trial in trials
    ]


def scores(trials: Sequence[Trial], objective: str) -> dict[int, float]:
    """What the guided search makes small, by the trials' numbers.

    The objective of one that passed; else more than that of any that passed, by how far it is from it.
    """
    return {trial.number: _score(trial, objective) for trial in alike(trials)}


def _score(trial: Trial, objective: str) -> float:
    if trial.passed:
        return {"Latency": _latency, "Size": _size, "Metric": _drop}[objective](trial)
    return 10.0 + min(_distance(trial)[0], 90.0)


def nearest(trials: Sequence[Trial]) -> Trial | None:
    """The one that came nearest to passing; None where none was measured."""
    measured = [trial for trial in trials if trial.metric is not None]
    return min(measured, key=_distance) if measured else None


def offered_first(trials: Sequence[Trial]) -> list[Trial]:
    """Those that are offered, then those that passed, then the rest, in the order of trying."""
    return sorted(trials, key=lambda trial: (trial.candidate or LIMIT + 1, not trial.passed, trial.number))


def summary(trials: Sequence[Trial]) -> str:
    """One sentence for people about marked trials: the best, or how far the nearest was."""
    count = f"{len(trials)} trial{'' if len(trials) == 1 else 's'}"
    first = next((trial for trial in trials if trial.candidate == 1), None)
    if first is None:
        tried = "; ".join(f"{one.recipe}, {one.form}: {one.verdict}, {one.message}" for one in trials)
        return f"{count}, nothing could be measured: {tried}"
    if not first.passed:
        return f"{count}, none passed; the nearest: {first.recipe}, {first.form}: {first.message}"
    return (
        f"{count}; the best: {first.recipe}, {first.form}, {wording.short(first.size_ratio)} of the size, "
        f"{_told(first)}"
    )


def _told(trial: Trial) -> str:
    """Its latency for people: net with its interval, gross where net is not known."""
    if not trial.is_net:
        return f"{wording.short(_latency(trial))} of the latency"
    if not trial.net_low and trial.net_high is not None:
        return f"net latency too small to be measured (at most {wording.short(trial.net_high)} of the source's)"
    interval = f"{wording.short(trial.net_low)} to {wording.short(trial.net_high)}"
    return f"{wording.short(trial.net_ratio)} ({interval}) of the net latency"


def _passed(trials: Sequence[Trial]) -> list[Trial]:
    """Those that passed, of alike latencies."""
    return [trial for trial in alike(trials) if trial.passed]


def _ranked(passed: Sequence[Trial], objective: str) -> list[Trial]:
    """By the objective; of those that noise cannot tell from the best, the best in other respects goes first."""
    orders: dict[str, tuple[Callable[[Trial], float], Callable[[Trial], float]]] = {
        "Latency": (_latency, _size),
        "Size": (_size, _latency),
        "Metric": (_drop, _latency),
    }
    value, then = orders[objective]
    ranked = sorted(passed, key=lambda trial: (value(trial), then(trial), trial.number))
    first = _more_exact(_first(ranked, objective), ranked)
    return [first, *(trial for trial in ranked if trial is not first)]


def _first(ranked: list[Trial], objective: str) -> Trial:
    """Of equals the one tried first, as the ladder begins with the more faithful."""
    if objective == "Latency":
        fastest = ranked[0]
        tied = _as_fast_alone([one for one in ranked if _equally_fast(fastest, one) or _is_faster_alone(one, fastest)])
        smallest = min(tied, key=_size)
        return min((one for one in tied if _equally_large(smallest, one)), key=lambda trial: trial.number)
    ties = _equally_large if objective == "Size" else _equally_faithful
    tied = [trial for trial in ranked if ties(ranked[0], trial)]
    fastest = min(tied, key=_latency)
    tied = [trial for trial in tied if _equally_fast(fastest, trial)]
    return min(tied, key=lambda trial: (_drop(trial), _size(trial), trial.number))


def _more_exact(first: Trial, ranked: list[Trial]) -> Trial:
    """Float16 in the place of BFloat16: both are float32 once loaded, so that what tells them apart may be noise."""
    recipe = first.recipe.replace("BFloat16", "Float16")
    twin = next((one for one in ranked if (one.recipe, one.form) == (recipe, "SavedModel")), first)
    ties = (_equally_fast, _equally_large, _equally_faithful)
    return twin if first.form == twin.form and all(tie(first, twin) for tie in ties) else first


def _equally_fast(fastest: Trial, other: Trial) -> bool:
    high = fastest.net_high if fastest.net_high is not None else _latency(fastest)
    low = other.net_low if other.net_low is not None else _latency(other)
    return low <= high


def _is_faster_alone(one: Trial, other: Trial) -> bool:
    """In the engine's own process, which is quieter than two servers; threads are alike where forms are."""
    if one.form != other.form or not one.process_milliseconds or not other.process_milliseconds:
        return False
    return one.process_milliseconds < other.process_milliseconds


def _as_fast_alone(tied: list[Trial]) -> list[Trial]:
    """Of those that servers could not tell apart, the ones that are fastest of their form in the engine's own process.

    There TFLite has one thread and a SavedModel all CPUs, so that nothing follows from one form to another.
    """
    known: dict[str, float] = {}
    for trial in tied:
        known[trial.form] = min(known.get(trial.form, math.inf), trial.process_milliseconds or 0.0)
    return [
        trial
        for trial in tied
        if not known[trial.form] or (trial.process_milliseconds or 0.0) <= PROCESS_TIE * known[trial.form]
    ]


def _equally_large(smallest: Trial, other: Trial) -> bool:
    return _size(other) <= _size(smallest) * (1 + SIZE_TIE)


def _equally_faithful(best_one: Trial, other: Trial) -> bool:
    return _drop(other) - _drop(best_one) <= 2 * (other.standard_error or 0.0)


def _beats(one: Trial, other: Trial) -> bool:
    pairs = [(value(one), value(other)) for value in (_drop, _size, _latency)]
    return all(mine <= theirs for mine, theirs in pairs) and any(mine < theirs for mine, theirs in pairs)


def _distance(trial: Trial) -> tuple[float, float]:
    """How far from passing: by how much limits are exceeded, then the drop."""
    drop = _drop(trial)
    # What older releases wrote only counts them, as if each were exceeded by as much again.
    return (max(1, trial.findings) + max(0.0, drop) if trial.excess is None else trial.excess, drop)


def _drop(trial: Trial) -> float:
    return math.inf if trial.drop is None or math.isnan(trial.drop) else trial.drop


def _size(trial: Trial) -> float:
    return math.inf if trial.size_ratio is None else trial.size_ratio


def _latency(trial: Trial) -> float:
    if trial.net_ratio is not None:
        return trial.net_ratio
    return math.inf if trial.latency_ratio is None else trial.latency_ratio
