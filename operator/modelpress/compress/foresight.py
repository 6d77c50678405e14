"""What later steps would refuse, told before the first step trains: as far as the source shows it.

A step checks itself when its turn comes; by then others may have trained for hours. What follows a step that changes
the structure is only known when that is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from modelpress.api.recipe import Distill, Prune
from modelpress.compress import graph
from modelpress.compress.bench import Bench
from modelpress.compress.model import OpenedModel
from modelpress.compress.plan import Change
from modelpress.compress.quantization import training as qat
from modelpress.compress.steps import distill, prune
from modelpress.compress.steps.filters import pruning
from modelpress.compress.steps.known import Known
from modelpress.compress.steps.step import Setting
from modelpress.compress.training import objective, weights

_SCRATCH = "foresight"


def require(bench: Bench) -> None:
    """Raises Invalid as the steps would; nothing is computed where no step trains."""
    changes = bench.plan.changes
    training = [place for place, change in enumerate(changes) if change.trains]
    if not training:
        return
    with bench.progress.step("Looking whether the steps can be done"):
        known = Known(bench.opened)
        _require_labels(bench, known)
        for change in up_to_replacement(changes)[training[0] + 1 :]:
            _CHECKS[change.kind](bench.opened, change.step, _setting(bench, change, known))


def up_to_replacement(changes: Sequence[Change]) -> Sequence[Change]:
    """Those that are given the structure of the source, the last of which may change it."""
    last = next((place for place, change in enumerate(changes) if replaces(change)), len(changes))
    return changes[: last + 1]


def replaces(change: Change) -> bool:
    """Whether another structure takes the model's place."""
    return isinstance(change.step, Distill) or (isinstance(change.step, Prune) and change.step.structure == "Filter")


def _require_labels(bench: Bench, known: Known) -> None:
    """Whether there are labels for those that train on them, and a loss: no step changes what outputs are."""
    for change in bench.plan.changes:
        if change.trains and not isinstance(change.step, Distill):  # which may learn from answers alone
            objective.labelled_rows(_setting(bench, change, known), bench.opened.signatures)
    objective.label_losses(bench.opened, bench.examples.sets["training"], bench.request.recipe.training)


def _setting(bench: Bench, change: Change, known: Known) -> Setting:
    scratch = bench.area.scratch(_SCRATCH)
    return Setting(
        examples=bench.examples,
        training=bench.request.recipe.training,
        field=change.field,
        checkpoints=scratch,
        logs=scratch,
        replacement=scratch,
        progress=bench.progress,
        source=bench.request.source,
        known=known,
    )


def _pruned(opened: OpenedModel, step: Prune, setting: Setting) -> None:
    if step.structure == "Filter":
        pruning.Removal(opened, step, setting)
    else:
        prune.require(opened, step, setting)


def _clustered(opened: OpenedModel, step: Any, setting: Setting) -> None:
    weights.chosen(opened.variables(), graph.kernels(opened), step.exclude_layers, field=setting.field)


def _fine_tuned(opened: OpenedModel, step: Any, setting: Setting) -> None:
    weights.trainable(opened.variables(), setting.field)


_CHECKS: dict[str, Callable[[OpenedModel, Any, Setting], None]] = {
    "prune": _pruned,
    "cluster": _clustered,
    "distill": distill.require,
    "fineTune": _fine_tuned,
    "quantize": qat.require,
}
"""As `versions.APPLY`."""
