"""The student that a recipe names by URI: found without TensorFlow, as the source is."""

from __future__ import annotations

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Recipe
from modelpress.api.source import Source
from modelpress.compress import source
from modelpress.compress.source import Found
from modelpress.telemetry.progress import Progress

ROLE = "student"
"""Key of the student's content digest beside those of the data sets."""


def find(uri: str, beside: Source, *, field: str, progress: Progress | None = None) -> Found:
    """The model at `uri`, read with what reads the source `beside`. Raises Invalid as `source.find`, under `field`."""
    wanted = beside.model_copy(update={"uri": uri, "format": "Auto", "digest": None, "signatures": None})
    try:
        return source.find(wanted, progress=progress)
    except Invalid as error:
        raise Invalid(error.reason, error.message, field=field) from error


def digests(recipe: Recipe, beside: Source) -> dict[str, str]:
    """The content digest of the student under `ROLE`; empty where the recipe names none by URI. Raises Invalid."""
    for index, step in enumerate(recipe.steps or ()):
        if step.distill is not None and step.distill.student.uri is not None:
            field = f"spec.recipe.steps[{index}].distill.student.uri"
            return {ROLE: find(step.distill.student.uri, beside, field=field).digest}
    return {}
