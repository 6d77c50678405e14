"""Whether TFLite can hold a model at all: where it cannot, no trial is spent on hearing so scheme by scheme."""

from __future__ import annotations

import dataclasses

from modelpress.api.artifact import Refused
from modelpress.api.errors import Invalid
from modelpress.compress import forms
from modelpress.compress.bench import Bench
from modelpress.compress.tflite import NotConvertible


def narrowed(bench: Bench) -> tuple[Bench, tuple[Refused, ...]]:
    """The bench, asked for SavedModels only where TFLite cannot hold the source; and why not.

    All schemes begin with the same conversion, and no move of a search adds operations. Raises Invalid
    `FormNotPossible` where the recipe asks for TFLite alone.
    """
    recipe = bench.request.recipe
    if recipe.format == "SavedModel" or bench.request.target.device == "GPU":
        return bench, ()
    try:
        forms.floating(bench, bench.versions.after(()))
    except NotConvertible as error:
        if recipe.format == "TFLite":
            raise Invalid(
                "FormNotPossible",
                f"TFLite cannot be built for this model: {error}; use format: Auto, or export it without these parts",
                field="spec.recipe.format",
            ) from error
        bench.progress.say(f"TFLite cannot hold the model, which leaves SavedModels: {error}")
        request = bench.request.model_copy(update={"recipe": recipe.model_copy(update={"format": "SavedModel"})})
        refused = Refused(recipe="every scheme", form="TFLite", reason=error.reason, message=str(error))
        return dataclasses.replace(bench, request=request), (refused,)
    return bench, ()
