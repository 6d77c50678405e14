"""The first moves of every search: cheap, without training, the most promising first. Pure."""

from __future__ import annotations

from typing import Any

from modelpress.api.artifact import Form
from modelpress.api.recipe import Recipe
from modelpress.compress.plan import Device
from modelpress.compress.search import move
from modelpress.compress.search.move import Move

_RUNGS: tuple[tuple[Form, str | None], ...] = (
    ("TFLite", "DynamicInt8"),
    ("TFLite", "StaticInt8"),
    ("TFLite", "Mixed"),
    ("SavedModel", "Float16"),
    ("SavedModel", "BFloat16"),
    ("TFLite", "Float16"),
    ("TFLite", None),
    ("SavedModel", None),
)
"""Form and scheme; None leaves float32, which alone is faster in TFLite, and smaller without what training needs."""
CALIBRATED = frozenset({"StaticInt8", "Mixed"})


def moves(recipe: Recipe, device: Device, *, has_calibration: bool) -> list[Move]:
    """What the device can serve and the data allow."""
    found = []
    for form, scheme in _RUNGS:
        if scheme in CALIBRATED and not has_calibration:
            continue
        steps: list[dict[str, Any]] = [{"quantize": {"scheme": scheme}}] if scheme else []
        one = move.of_steps(steps, form, recipe, device)
        if one is not None:
            found.append(one)
    return found
