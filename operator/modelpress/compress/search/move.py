"""A move of the search: a recipe as the user could have written it, and the form to make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modelpress.api.artifact import Form
from modelpress.api.errors import Invalid
from modelpress.api.recipe import Recipe, Step
from modelpress.compress import plan
from modelpress.compress.plan import Build, Change, Device

FIELD = "spec.recipe.search"
STRICTER = " stricter"
"""In the line of a recipe, behind `Mixed`."""


@dataclass(frozen=True)
class Move:
    """Steps, then a build."""

    changes: tuple[Change, ...]
    build: Build
    iteration: int = 1
    """How often the steps are done; they are in `changes` so often."""
    parameters: dict[str, Any] = field(default_factory=dict, compare=False)
    """What the guided part of the search chose."""

    @property
    def name(self) -> str:
        """That of its piece."""
        key = plan.key_of(self.changes)
        return f"{self.build.name}-{key}" if key else self.build.name

    @property
    def stricter(self) -> Move:
        """The same, except that Mixed is to lose clearly less."""
        build = replace(self.build, recipe=self.build.recipe + STRICTER, is_stricter=True)
        return replace(self, build=build)


def of_steps(
    steps: Sequence[dict[str, Any]],
    form: Form,
    recipe: Recipe,
    device: Device,
    parameters: dict[str, Any] | None = None,
) -> Move | None:
    """The move of these steps in the resource's words; None where the recipe's format, device or release forbids it."""
    parsed = tuple(Step.model_validate(step) for step in steps)
    wanted = recipe.model_copy(update={"steps": parsed, "search": None, "format": form})
    try:
        found = plan.of_recipe(wanted, device=device)
    except Invalid:
        return None
    if recipe.format not in ("Auto", form):
        return None
    return Move(found.changes, found.builds[0], parameters=parameters or {})
