"""Training on: the loss on labels falls, pruned weights stay zero, clustered weights go on sharing values.

The model trains as it serves: dropout is off and normalisation keeps its statistics, as suits a short training. Only
a net that was rebuilt, as by removed filters, is normalised by its batches: its old statistics are of another net.
"""

from __future__ import annotations

from modelpress.api.recipe import FineTune
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps import normalisation
from modelpress.compress.steps.step import Changed, Setting
from modelpress.compress.training import loop, objective, weights
from modelpress.compress.training.constraints import Constraints
from modelpress.compress.training.course import Course, Task


def apply(opened: OpenedModel, step: FineTune, setting: Setting) -> Changed:
    """Trains the variables in place.

    Raises Invalid `DataRequired`, `LabelsRequired`, `StepCannotApply`, `LossUnclear`, `LabelsOutOfRange`,
    `TrainingDiverged`.
    """
    course = Course(step.epochs, step.learning_rate, setting.training, "Fine-tuning", setting.field)
    history = loop.train(task(opened, setting), course, setting.place)
    return Changed(f"fineTune: {history.note}")


def task(opened: OpenedModel, setting: Setting, constraints: Constraints | None = None) -> Task:
    """Training of a model on the labels of the training data; `constraints` are those of earlier steps by default.

    Raises Invalid, see `apply`.
    """
    found = objective.labelled_rows(setting, opened.signatures)
    variables = opened.variables()
    trainable = weights.trainable(variables, setting.field)
    served = objective.of_labels(opened, found, setting.training, objective.answering(opened, found.signature))
    learner = normalisation.learner(opened, found.signature) if normalisation.fits(opened, found, setting) else None
    return Task(
        signature=opened.signatures[found.signature],
        rows=found.rows,
        loss=objective.of_labels(opened, found, setting.training, learner) if learner else served,
        held_out_loss=served,
        seen=learner.seen if learner else None,
        worthless=objective.worthless(opened, found, setting.training),
        variables=variables,
        trainable=trainable,
        constraints=constraints or Constraints(trainable, setting.masks, setting.clusters),
        names=weights.names(variables),
    )
