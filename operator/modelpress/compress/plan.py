"""What a recipe means: the steps that change weights, and the servable forms to build from them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NoReturn

from modelpress.api.artifact import Form
from modelpress.api.errors import Invalid
from modelpress.api.recipe import FineTune, Prune, Quantize, Recipe, Step

Weights = Literal["Float32", "Float16", "DynamicInt8", "StaticInt8"]
STEPS_FIELD = "spec.recipe.steps"
_SCHEMES: dict[str, Weights] = {"Float16": "Float16", "DynamicInt8": "DynamicInt8", "StaticInt8": "StaticInt8"}
_SAVED_MODEL_WEIGHTS = ("Float32", "Float16")


@dataclass(frozen=True)
class Build:
    """One servable form to make."""

    form: Form
    weights: Weights
    recipe: str
    """One line for people."""
    per_channel: bool = True

    @property
    def name(self) -> str:
        """Unique within a plan; a file name."""
        return f"{self.form}-{self.weights}".lower()


@dataclass(frozen=True)
class Plan:
    """Steps in order with their place in the recipe, then builds by rank."""

    steps: tuple[tuple[int, Prune | FineTune], ...]
    builds: tuple[Build, ...]
    named: bool
    """Whether the user named the steps: what cannot be built is then an error, not a finding of a search."""
    quantize_field: str | None = None
    """Path of the quantize step, for errors."""


def of_recipe(recipe: Recipe, *, device: Literal["CPU", "GPU"]) -> Plan:
    """What to do for a recipe. Raises Invalid `FieldNotSupported` or `StepCannotApply`."""
    if recipe.search is not None:
        _refuse("spec.recipe.search", "this release tries a fixed ladder of recipes; leave out search and steps")
    if recipe.iterations > 1:
        _refuse("spec.recipe.iterations", f"{recipe.iterations}: this release runs the steps once; leave it out")
    if recipe.steps is None:
        return Plan((), _forms(_ladder(), recipe, device, ""), named=False)
    changing: list[tuple[int, Prune | FineTune]] = []
    quantize: tuple[int, Quantize] | None = None
    for index, step in enumerate(recipe.steps):
        kind = _known(step, index)
        if isinstance(kind, Quantize):
            quantize = (index, kind)
        else:
            changing.append((index, kind))
    recipe_line = "; ".join(describe(step) for step in recipe.steps)
    if quantize is None:
        wanted: list[tuple[Form, Weights, str]] = [
            ("TFLite", "Float32", recipe_line),
            ("SavedModel", "Float32", recipe_line),
        ]
        return Plan(tuple(changing), _forms(wanted, recipe, device, "spec.recipe.format"), named=True)
    field = f"{STEPS_FIELD}[{quantize[0]}].quantize"
    weights = _SCHEMES[quantize[1].scheme]
    wanted = [("TFLite", weights, recipe_line), ("SavedModel", weights, recipe_line)]
    builds = _forms(wanted, recipe, device, f"{field}.scheme", quantize[1].granularity != "PerTensor")
    return Plan(tuple(changing), builds, named=True, quantize_field=field)


def needs_calibration(plan: Plan) -> bool:
    """Whether activation ranges have to be measured on examples."""
    return any(build.weights == "StaticInt8" for build in plan.builds)


def describe(step: Step) -> str:
    """A step in a few words, e.g. `prune Magnitude <0.01 max 10 %`."""
    if step.prune is not None:
        prune = step.prune
        amount = f"{prune.sparsity * 100:g} %" if prune.sparsity is not None else f"<{prune.threshold or 0:g}"
        limit = f" max {prune.max_sparsity * 100:g} %" if prune.max_sparsity is not None else ""
        return f"prune {prune.criterion} {amount}{limit}"
    if step.fine_tune is not None:
        return f"fineTune {step.fine_tune.epochs} epoch{'s' if step.fine_tune.epochs > 1 else ''}"
    if step.quantize is not None:
        return f"quantize {step.quantize.scheme}"
    return next(iter(step.plain()), "nothing")


def _ladder() -> list[tuple[Form, Weights, str]]:
    """Cheap recipes that need no data, the most promising first."""
    return [
        ("TFLite", "DynamicInt8", "quantize DynamicInt8"),
        ("TFLite", "Float16", "quantize Float16"),
        ("SavedModel", "Float16", "quantize Float16"),
    ]


def _forms(
    wanted: list[tuple[Form, Weights, str]], recipe: Recipe, device: str, field: str, per_channel: bool = True
) -> tuple[Build, ...]:
    possible = [
        Build(form, weights, line, per_channel)
        for form, weights, line in wanted
        if (form == "TFLite" or weights in _SAVED_MODEL_WEIGHTS)
        and (form == "SavedModel" or device == "CPU")
        and recipe.format in ("Auto", form)
    ]
    if not possible:
        form = "SavedModel" if device == "GPU" else recipe.format
        scheme = wanted[0][1]
        raise Invalid(
            "StepCannotApply",
            f"{scheme} cannot be served as {form}: "
            + (
                "a GPU server runs no TFLite"
                if device == "GPU"
                else "TensorFlow Serving runs integers fast only in TFLite"
            )
            + "; use scheme: Float16"
            + ("" if device == "GPU" else ", or format: TFLite"),
            field=field or "spec.recipe.format",
        )
    return tuple(possible)


def _known(step: Step, index: int) -> Prune | FineTune | Quantize:
    at = f"{STEPS_FIELD}[{index}]"
    if step.prune is not None:
        return _known_prune(step.prune, f"{at}.prune")
    if step.fine_tune is not None:
        return step.fine_tune
    if step.quantize is not None:
        return _known_quantize(step.quantize, f"{at}.quantize")
    name = next(iter(step.plain()), None)
    _refuse(f"{at}.{name}" if name else at, f"this release has no step {name}; use prune, fineTune or quantize")


def _known_prune(prune: Prune, at: str) -> Prune:
    if prune.criterion != "Magnitude":
        _refuse(f"{at}.criterion", f"{prune.criterion}: this release knows Magnitude; use it, or leave it out")
    if prune.structure != "Unstructured":
        _refuse(f"{at}.structure", f"{prune.structure}: this release prunes single weights; use Unstructured")
    if prune.epochs > 0:
        _refuse(f"{at}.epochs", f"{prune.epochs}: this release prunes at once; add a fineTune step after it instead")
    if (prune.threshold is None) == (prune.sparsity is None):
        raise Invalid("Invalid", "set either threshold or sparsity", field=at)
    return prune


def _known_quantize(quantize: Quantize, at: str) -> Quantize:
    if quantize.scheme not in _SCHEMES:
        _refuse(f"{at}.scheme", f"{quantize.scheme}: this release knows {', '.join(_SCHEMES)}; use one of them")
    if quantize.weights == "Asymmetric":
        _refuse(f"{at}.weights", "Asymmetric: this release quantizes weights symmetrically; leave it out")
    if quantize.activations == "Symmetric":
        _refuse(f"{at}.activations", "Symmetric: this release quantizes activations asymmetrically; leave it out")
    if quantize.epochs > 0:
        _refuse(f"{at}.epochs", f"{quantize.epochs}: this release quantizes after training; leave it out")
    if quantize.exclude_layers:
        _refuse(f"{at}.excludeLayers", "this release quantizes all layers alike; leave it out")
    return quantize


def _refuse(field: str, message: str) -> NoReturn:
    raise Invalid("FieldNotSupported", message, field=field)
