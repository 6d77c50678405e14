"""Training on: a loop of our own over the variables of any SavedModel, pruned weights stay zero.

The model trains as it serves: dropout is off and normalisation keeps its statistics, as suits a short training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import config as framework_config

from modelpress.api.errors import Invalid
from modelpress.api.recipe import FineTune, Training
from modelpress.compress.dataset import Array, Rows
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps import loss as losses
from modelpress.telemetry.progress import Progress

_PROBE_ROWS = 256


def apply(
    opened: OpenedModel,
    rows: Rows,
    step: FineTune,
    training: Training,
    *,
    signature: str,
    masks: Mapping[int, Array],
    field: str,
    progress: Progress,
) -> str:
    """Trains the variables in place and returns a note for people. `masks` as in `prune.Pruned`.

    Raises Invalid `LabelsRequired`, `StepCannotApply`, `LossUnclear`, `LabelsOutOfRange`, `TrainingDiverged`.
    """
    if not rows.targets:
        raise Invalid(
            "LabelsRequired",
            f"training rows have no labels for {', '.join(opened.signatures[signature].outputs)}; "
            "map label columns with spec.data.training.columns.targets",
            field=field,
        )
    variables = opened.variables()
    trainable = {position: variable for position, variable in enumerate(variables) if variable.trainable}
    if not trainable:
        raise Invalid(
            "StepCannotApply", "the model has no trainable variables (it is frozen); leave the step out", field=field
        )
    chosen = _chosen_losses(opened, rows, training, signature)
    with _deterministic(training.seed):
        update = _update(opened, chosen, step, training, signature, trainable, masks)
        first, last = _epochs(opened, update, rows, step, training, signature, progress)
    if not np.isfinite(last):
        raise Invalid("TrainingDiverged", f"the loss became {last}; lower learningRate", field=f"{field}.learningRate")
    return f"fineTune: loss {first:.4g} in the first epoch" + (f", {last:.4g} in the last" if step.epochs > 1 else "")


def _chosen_losses(opened: OpenedModel, rows: Rows, training: Training, signature: str) -> dict[str, losses.Loss]:
    some = rows.part(0, _batch_size(opened, signature, _PROBE_ROWS))
    answers = opened.call(signature, some.inputs)
    chosen = {}
    for name, labels in some.targets.items():
        losses.require_range(name, answers[name], rows.targets[name], training)
        chosen[name] = losses.choose(training, name, answers[name], labels)
    return chosen


def _batch_size(opened: OpenedModel, signature: str, wanted: int) -> int:
    """The wanted number of rows, or the number that the model was built for."""
    shapes = [tensor.shape for tensor in opened.signatures[signature].inputs.values()]
    return next((shape[0] for shape in shapes if shape and shape[0] is not None), wanted)


def _optimizer(step: FineTune, training: Training) -> Any:
    import tf_keras

    kind = {"Adam": tf_keras.optimizers.Adam, "AdamW": tf_keras.optimizers.AdamW, "SGD": tf_keras.optimizers.SGD}
    return kind[training.optimizer](learning_rate=step.learning_rate, jit_compile=False)


def _update(
    opened: OpenedModel,
    chosen: dict[str, losses.Loss],
    step: FineTune,
    training: Training,
    signature: str,
    trainable: dict[int, Any],
    masks: Mapping[int, Array],
) -> Any:
    """One training step as a graph: (inputs, labels) -> loss."""
    optimizer = _optimizer(step, training)
    variables = list(trainable.values())
    optimizer.build(variables)
    kept = [(trainable[position], tf.constant(mask)) for position, mask in masks.items() if position in trainable]
    function = opened.function(signature)

    def update(inputs: dict[str, Any], labels: dict[str, Any]) -> Any:
        with tf.GradientTape() as tape:
            answers = function(**inputs)
            total = tf.add_n([tf.cast(loss(labels[name], answers[name]), tf.float32) for name, loss in chosen.items()])
        gradients = tape.gradient(total, variables)
        known = [
            (gradient, variable)
            for gradient, variable in zip(gradients, variables, strict=True)
            if gradient is not None
        ]
        optimizer.apply_gradients(known)
        for variable, mask in kept:
            variable.assign(tf.where(mask, variable, tf.zeros_like(variable)))
        return total

    return tf.function(update, reduce_retracing=True)


def _epochs(
    opened: OpenedModel,
    update: Any,
    rows: Rows,
    step: FineTune,
    training: Training,
    signature: str,
    progress: Progress,
) -> tuple[float, float]:
    """Mean losses of the first and the last epoch."""
    declared = opened.signatures[signature].inputs
    size = min(_batch_size(opened, signature, training.batch_size), len(rows))
    order = np.random.default_rng(training.seed)
    batches = max(1, len(rows) // size)
    means = []
    with progress.step(f"Fine-tuning on {len(rows):,} rows", total=step.epochs * batches) as shown:
        for _ in range(step.epochs):
            shuffled, total = order.permutation(len(rows)), 0.0
            for batch in range(batches):
                chosen = np.sort(shuffled[batch * size : (batch + 1) * size])
                inputs = {
                    name: tf.constant(rows.inputs[name][chosen], tensor.dtype) for name, tensor in declared.items()
                }
                labels = {name: tf.constant(array[chosen]) for name, array in rows.targets.items()}
                total += float(update(inputs, labels))
                shown.advance()
            means.append(total / batches)
    return means[0], means[-1]


@contextlib.contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Equal seeds give equal weights: operations must not race."""
    was = framework_config.is_op_determinism_enabled()
    tf.random.set_seed(seed)
    framework_config.enable_op_determinism()
    try:
        yield
    finally:
        if not was:
            framework_config.disable_op_determinism()
