"""Pruning of single weights: the least important become zero, at once or step by step while training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Prune
from modelpress.compress import graph
from modelpress.compress.dataset import Array
from modelpress.compress.examples import Bound
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps import emptied, fine_tune, fours, importance
from modelpress.compress.steps.step import Changed, Setting
from modelpress.compress.training import loop, objective, schedule, weights
from modelpress.compress.training.batches import Batches
from modelpress.compress.training.constraints import Constraints
from modelpress.compress.training.course import Course

GRADIENT_BATCHES = 32
"""Batches over which |w * dL/dw| is averaged."""


def apply(opened: OpenedModel, step: Prune, setting: Setting) -> Changed:
    """Sets weights to zero in place. Biases, norms and other vectors are left alone.

    With `threshold`, weights below it go, the smallest of the whole model first, until `maxSparsity` of all prunable
    weights are zero. With `sparsity`, that share goes, of every tensor or of the model (see `importance`).

    Raises Invalid `StepCannotApply`, `UnknownLayer`, `DataRequired`, and what `fine_tune` raises.
    """
    pruning = _Pruning(opened, step, setting)
    if step.epochs == 0:
        with setting.progress.step("Pruning"):
            masks = pruning.final_masks()
        warnings = pruning.warnings(masks)
        pruning.assign(masks)
        return Changed(pruning.note(masks), masks, warnings=warnings)
    return pruning.trained()


def require(opened: OpenedModel, step: Prune, setting: Setting) -> None:
    """Raises what `apply` would before it computes anything."""
    _Pruning(opened, step, setting)


class _Pruning:
    def __init__(self, opened: OpenedModel, step: Prune, setting: Setting) -> None:
        self._opened, self._step, self._setting = opened, step, setting
        self._criterion = _of_weights(step, setting.field)
        self._variables = opened.variables()
        self._chosen = weights.chosen(self._variables, graph.kernels(opened), step.exclude_layers, field=setting.field)
        self._taylor = Taylor(opened, self._chosen, setting) if step.criterion == "Gradient" else None
        if step.structure == "TwoOfFour":
            fours.require(self._chosen.values(), f"{setting.field}.structure")

    def final_masks(self) -> dict[int, Array]:
        """What stays when all is done, judged by the weights as they are."""
        values = self._values()
        if self._step.structure == "TwoOfFour":
            found = self._scores(values)
            return {place: importance.two_of_four(found[place], fours.axis(self._variables[place])) for place in values}
        if self._step.sparsity is not None:
            return importance.without_share(self._criterion, self._scores(values), self._step.sparsity)
        limit = 1.0 if self._step.max_sparsity is None else self._step.max_sparsity
        return importance.below(values, self._step.threshold or 0, limit)

    def trained(self) -> Changed:
        """Sparsity rises while the model trains; 2:4 holds from the first update."""
        step, setting = self._step, self._setting
        trainable = weights.trainable(self._variables, setting.field)
        everything = {place: np.ones(tuple(one.shape), bool) for place, one in self._chosen.items()}
        constraints = Constraints(trainable, weights.joined_masks(everything, setting.masks), setting.clusters)
        task = fine_tune.task(self._opened, setting, constraints)
        course = Course(
            step.epochs,
            step.learning_rate,
            setting.training,
            "Pruning while training",
            setting.field,
            before=lambda update, total: self._raise(constraints, update, total),
            best_from=schedule.ramped,
        )
        history = loop.train(task, course, setting.place)
        masks = {place: mask for place, mask in constraints.masks().items() if place in self._chosen}
        return Changed(f"{self.note(masks)}; {history.note}", masks)

    def assign(self, masks: Mapping[int, Array]) -> None:
        """Makes weights zero."""
        for place, mask in masks.items():
            variable = self._variables[place]
            variable.assign(np.where(mask, variable.numpy(), variable.numpy().dtype.type(0)))

    def note(self, masks: Mapping[int, Array]) -> str:
        """For people."""
        considered = sum(mask.size for mask in masks.values())
        removed = considered - sum(int(mask.sum()) for mask in masks.values())
        share = removed / considered if considered else 0
        return f"prune: {removed:,} of {considered:,} weights ({share:.2%}) became 0"

    def warnings(self, masks: Mapping[int, Array]) -> tuple[str, ...]:
        """Of weights as they are before masks hold; only a threshold takes more than the share it was given of one."""
        if self._step.threshold is None:
            return ()
        names = {place: name.rpartition("/")[0] or name for place, name in weights.names(self._variables).items()}
        told = emptied.warning(emptied.found(names, self._values(), masks), self._step.threshold)
        return (told,) if told else ()

    def _raise(self, constraints: Constraints, update: int, total: int) -> None:
        wanted = self._wanted(update, total)
        if wanted is not None:
            constraints.set_masks(weights.joined_masks(wanted, self._setting.masks))

    def _wanted(self, update: int, total: int) -> dict[int, Array] | None:
        """Masks from this update on; None where they stay as they are."""
        if self._step.structure == "TwoOfFour":
            return self.final_masks() if update == 0 else None
        share = schedule.raised(update, total, self._start(), self._step.sparsity or 0)
        if share is None:
            return None
        return importance.without_share(self._criterion, self._scores(self._values()), share)

    def _start(self) -> float:
        """The share that earlier steps have made zero; not more than is wanted."""
        held = [self._setting.masks[place] for place in self._chosen if place in self._setting.masks]
        gone = sum(mask.size - int(mask.sum()) for mask in held)
        total = sum(int(np.prod(variable.shape)) for variable in self._chosen.values())
        return min(gone / max(1, total), self._step.sparsity or 0)

    def _values(self) -> dict[int, Array]:
        return {place: variable.numpy() for place, variable in self._chosen.items()}

    def _scores(self, values: Mapping[int, Array]) -> dict[int, Array]:
        gradients = self._taylor.measured() if self._taylor is not None else None
        return importance.scores(self._criterion, values, gradients)


def _of_weights(step: Prune, field: str) -> importance.Criterion:
    if step.criterion == "Reconstruction":
        raise Invalid(
            "StepCannotApply",
            "criterion Reconstruction chooses filters; set structure: Filter, or another criterion",
            field=f"{field}.criterion",
        )
    return step.criterion


class Taylor:
    """First-order Taylor importance: the mean over batches of |w * dL/dw| (Molchanov et al. 2017).

    L is the loss on labels where training data has some, else half the squared outputs.
    """

    def __init__(self, opened: OpenedModel, chosen: Mapping[int, Any], setting: Setting) -> None:
        self._chosen, self._setting = chosen, setting
        found = _gradient_rows(opened, setting)
        answer = objective.answering(opened, found.signature)
        loss = (
            objective.of_labels(opened, found, setting.training, answer)
            if found.rows.targets
            else objective.of_energy(answer)
        )
        self._batches = Batches(
            found.rows,
            opened.signatures[found.signature],
            size=setting.training.batch_size,
            seed=setting.training.seed,
            hold_out=False,
        )

        def scored(inputs: dict[str, Any], labels: dict[str, Any]) -> list[Any]:
            variables = list(chosen.values())
            with tf.GradientTape() as tape:
                total = loss(inputs, labels)
            gradients = tape.gradient(total, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return [
                tf.abs(tf.convert_to_tensor(gradient) * variable)
                for gradient, variable in zip(gradients, variables, strict=True)
            ]

        self._scored = tf.function(scored, reduce_retracing=True)

    def measured(self) -> dict[int, Array]:
        """Importance of the weights as they are now."""
        with loop.deterministic(self._setting.training.seed):
            count = min(GRADIENT_BATCHES, self._batches.count)
            order = self._batches.order(0)
            totals = [np.zeros(tuple(one.shape), np.float64) for one in self._chosen.values()]
            for index in range(count):
                batch = self._batches.take(order, index)
                for total, one in zip(totals, self._scored(batch.inputs, batch.labels), strict=True):
                    total += np.asarray(one)
        if not any(total.any() for total in totals):
            raise Invalid(
                "StepCannotApply",
                "no gradient reaches a weight of the model; use criterion: Magnitude, which needs none",
                field=f"{self._setting.field}.criterion",
            )
        return dict(zip(self._chosen, totals, strict=True))


def _gradient_rows(opened: OpenedModel, setting: Setting) -> Bound:
    found = setting.examples.sets.get("training") or setting.examples.calibration()
    if found is None:
        raise Invalid(
            "DataRequired",
            "criterion Gradient is measured on examples; set spec.data.training (with labels), or use Magnitude",
            field=f"{setting.field}.criterion",
        )
    fixed = opened.signatures[found.signature].fixed_batch or 0
    if len(found.rows) < fixed:
        raise Invalid(
            "DataRequired",
            f"criterion Gradient is measured on examples, of which the model takes {fixed:,} at once, and there are "
            f"{len(found.rows):,}; set spec.data.training (with labels) to more, or use Magnitude",
            field=f"{setting.field}.criterion",
        )
    return found
