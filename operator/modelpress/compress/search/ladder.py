"""The first moves of every search: cheap, without training, the most promising first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelpress.api.artifact import Form
from modelpress.api.recipe import Recipe
from modelpress.api.trial import Trial
from modelpress.compress.plan import Device
from modelpress.compress.search import move
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
INTEGERS = ("DynamicInt8", "StaticInt8")


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


def rescue(recipe: Recipe, device: Device, *, has_calibration: bool, trials: Sequence[Trial]) -> list[Move]:
    """Mixed, which looks at every layer for minutes: only where no model of integers alone passed."""
    passed = any(trial.passed and scheme in trial.recipe for trial in trials for scheme in INTEGERS)
    if passed or not has_calibration:
        return []
    one = move.of_steps([{"quantize": {"scheme": "Mixed"}}], "TFLite", recipe, device)
    return [one] if one is not None else []
