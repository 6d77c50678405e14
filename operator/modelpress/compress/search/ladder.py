"""The first moves of every search: cheap, without training, the most promising first. Pure."""

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
_FEWEST_BITS = "Int4Weights"
_INACCURATE = frozenset({"DropTooLarge", "BelowMinimum", "AboveMaximum", "EvaluationSetTooSmall"})
"""Verdicts that a layer more in higher precision may change; what moves answers less is told by fewer rows, too."""


def moves(recipe: Recipe, device: Device, *, has_calibration: bool) -> list[Move]:
    """What the device can serve and the data allow."""
    found = []
    for form, scheme in _RUNGS:
        if scheme == "StaticInt8" and not has_calibration:
            continue
        steps: list[dict[str, Any]] = [{"quantize": {"scheme": scheme}}] if scheme else []
        one = move.of_steps(steps, form, recipe, device)
        if one is not None:
            found.append(one)
    return found


def refined(
    recipe: Recipe, device: Device, *, has_calibration: bool, trials: Sequence[Trial], objective: str
) -> list[Move]:
    """Mixed, which looks at layers one by one, unless four bits in all of them are best already.

    It rescues a model that loses too much in integers alone, and shrinks one of which some layers bear four bits.
    """
    best = front.best(trials, objective)
    if not has_calibration or (best is not None and _FEWEST_BITS in best.recipe):
        return []
    one = move.of_steps([{"quantize": {"scheme": "Mixed"}}], "TFLite", recipe, device)
    return [one] if one is not None else []


def stricter(layered: Sequence[Move], trials: Sequence[Trial]) -> list[Move]:
    """Those of `refined` whose metric missed the gate, with more layers in higher precision.

    Calibration rows, which Mixed chooses by, said that it would pass; rows of the evaluation, or more of them, said no.
    """
    missed = {trial.name for trial in trials if trial.verdict in _INACCURATE}
    return [move.stricter for move in layered if move.name in missed]
