"""The cheap moves of every search, none of which trains: integers first, floats where they fail, or last. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelpress.api.artifact import Form
from modelpress.api.recipe import Recipe
from modelpress.api.trial import Trial
from modelpress.compress.plan import Device
from modelpress.compress.search import front, move
from modelpress.compress.search.move import Move

_RUNGS: tuple[tuple[Form, str | None], ...] = (
    ("TFLite", "DynamicInt8"),
    ("TFLite", "StaticInt8"),
    ("TFLite", "Int4Weights"),
    ("SavedModel", "Float16"),
    ("SavedModel", "BFloat16"),
    ("TFLite", "Float16"),
    ("TFLite", None),
    ("SavedModel", None),
)
"""Form and scheme; None leaves float32, which alone is faster in TFLite, and smaller without what training needs."""
_COMPUTING = "StaticInt8"
_INTEGERS = frozenset({"DynamicInt8", _COMPUTING, "Int4Weights"})
_FAST_FLOAT = ("TFLite", "Float16")
_FEWEST_BITS = "Int4Weights"
_INACCURATE = frozenset({"DropTooLarge", "BelowMinimum", "AboveMaximum", "EvaluationSetTooSmall"})
"""Verdicts that a layer more in higher precision may change; what moves answers less is told by fewer rows, too."""


def moves(recipe: Recipe, device: Device, *, has_calibration: bool, is_one_graph: bool = True) -> list[Move]:
    """What the device can serve and the data allow.

    A source that is not `is_one_graph` is no float32 SavedModel of its own either: that would be a copy.
    """
    found = []
    for form, scheme in _RUNGS:
        if (scheme == "StaticInt8" and not has_calibration) or (
            not is_one_graph and (form, scheme) == ("SavedModel", None)
        ):
            continue
        steps: list[dict[str, Any]] = [{"quantize": {"scheme": scheme}}] if scheme else []
        one = move.of_steps(steps, form, recipe, device)
        if one is not None:
            found.append(one)
    return found


def integers(rungs: Sequence[Move]) -> list[Move]:
    """Those that store weights as integers."""
    return [one for one in rungs if one.build.weights in _INTEGERS]


def late(rungs: Sequence[Move], trials: Sequence[Trial], objective: str) -> list[Move]:
    """Those to be tried last, with the trials that are left: floats, where integers that passed are smaller and faster.

    A SavedModel in floats is as fast as the source. TFLite in floats may be faster than integers that only store
    weights; so its smaller one stays where no integer computes. Where fidelity is asked for, all stay. But where
    all integers are too large, floats most likely are, too, and go to the end.
    """
    passed = {trial.name: trial for trial in trials if trial.passed}
    known = [one for one in integers(rungs) if one.name in passed and objective != "Metric"]
    floats = [one for one in rungs if one.build.weights not in _INTEGERS]
    too_large = {trial.name for trial in trials if trial.verdict == "TooLarge"}
    tried = [one for one in integers(rungs) if any(trial.name == one.name for trial in trials)]
    if tried and all(one.name in too_large for one in tried):
        return floats
    if objective == "Size":
        return floats if known else []
    faster = {one.build.weights for one in known if _is_faster(passed[one.name])}
    if not faster or _COMPUTING in faster:
        return floats if faster else []
    return [one for one in floats if (one.build.form, one.build.weights) != _FAST_FLOAT]


def _is_faster(trial: Trial) -> bool:
    """Than the source, beyond noise."""
    high = trial.net_high if trial.net_high is not None else trial.net_ratio
    return high is not None and high < 1


def refined(
    recipe: Recipe, device: Device, *, has_calibration: bool, trials: Sequence[Trial], objective: str
) -> list[Move]:
    """Mixed, which looks at layers one by one, unless four bits in all of them are best already and lose nothing.

    It rescues a model that loses too much in integers alone, and shrinks one of which some layers bear four bits.
    """
    best = front.best(trials, objective)
    if not has_calibration or (best is not None and _FEWEST_BITS in best.recipe and front.is_lossless(best)):
        return []
    one = move.of_steps([{"quantize": {"scheme": "Mixed"}}], "TFLite", recipe, device)
    return [one] if one is not None else []


def stricter(layered: Sequence[Move], trials: Sequence[Trial]) -> list[Move]:
    """Those of `refined` whose metric missed the gate, with more layers in higher precision.

    Calibration rows, which Mixed chooses by, said that it would pass; rows of the evaluation, or more of them, said no.
    """
    missed = {trial.name for trial in trials if trial.verdict in _INACCURATE}
    return [move.stricter for move in layered if move.name in missed]
