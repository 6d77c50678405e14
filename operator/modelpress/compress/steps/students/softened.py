"""How far a student's answers are from its teacher's, softened by a temperature, and from the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from modelpress.api.recipe import Training
from modelpress.compress.dataset import Array

Kind = Literal["Classes", "YesNo", "Values"]
_TINY = 1e-7


class Answers(NamedTuple):
    """What the numbers of an output are."""

    kind: Kind
    """Classes that exclude each other, yes or no each for itself, or plain values."""
    logits: bool
    """Whether they still have to go through softmax or sigmoid."""
    spread: float = 1.0
    """Variance of the teacher's values, so that their loss has no unit."""


def kind_of(output: Array, labels: Array | None, training: Training) -> Answers:
    """What an output is, from some of the teacher's answers, from labels where there are some, and from the recipe.

    Without labels or a loss in the recipe, logits cannot be told from other values, and are matched as values
    (Ba & Caruana 2014).
    """
    spread = float(np.var(output.astype(np.float64))) or 1.0
    last = output.shape[-1] if output.ndim > 1 else 1
    inside = bool((output >= 0).all() and (output <= 1).all())
    sums_to_one = last > 1 and inside and bool(np.allclose(output.sum(axis=-1), 1, atol=1e-3))
    kind: Kind = "Values"
    if training.loss == "CategoricalCrossentropy" or sums_to_one:
        kind = "Classes"
    elif training.loss == "BinaryCrossentropy" or inside:
        kind = "YesNo"
    elif training.loss == "Auto" and labels is not None and labels.dtype.kind in "iub" and last > 1:
        kind = "Classes" if labels.size * last == output.size else "YesNo"
    elif training.loss == "Auto" and labels is not None and bool(np.isin(labels, (0, 1)).all()):
        kind = "YesNo"
    if training.loss == "MeanSquaredError":
        kind = "Values"
    shares = sums_to_one if kind == "Classes" else inside
    logits = training.from_logits if training.from_logits is not None else not shares
    return Answers(kind, logits, spread)


def distance(answers: Answers, temperature: Any) -> Callable[[Any, Any], Any]:
    """(teacher's, student's) -> mean distance over rows; 0 where they are equal. Traced.

    T^2 KL(softmax(z_t / T) || softmax(z_s / T)) for classes (Hinton, Vinyals & Dean 2015, whose T^2 keeps gradients of
    one size), the same with sigmoids for yes or no, squared differences over the teacher's variance for values.
    """
    if answers.kind == "Values":
        return lambda teacher, student: tf.reduce_mean(tf.square(teacher - student)) / answers.spread
    if answers.kind == "Classes":
        return lambda teacher, student: _of_classes(_logits(teacher, answers), _logits(student, answers), temperature)
    return lambda teacher, student: _of_yes_no(_log_odds(teacher, answers), _log_odds(student, answers), temperature)


def of_features(teacher: Any, student: Any) -> Any:
    """Mean squared difference of inner tensors over the teacher's mean square. Traced."""
    scale = tf.reduce_mean(tf.square(teacher)) + _TINY
    return tf.reduce_mean(tf.square(teacher - student)) / scale


def _of_classes(teacher: Any, student: Any, temperature: Any) -> Any:
    wanted, given = (tf.nn.log_softmax(one / temperature) for one in (teacher, student))
    return temperature**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - given), axis=-1))


def _of_yes_no(teacher: Any, student: Any, temperature: Any) -> Any:
    wanted = tf.sigmoid(teacher / temperature)
    cross = tf.nn.sigmoid_cross_entropy_with_logits(wanted, student / temperature)
    own = tf.nn.sigmoid_cross_entropy_with_logits(wanted, teacher / temperature)
    return temperature**2 * tf.reduce_mean(cross - own)


def _logits(values: Any, answers: Answers) -> Any:
    return values if answers.logits else tf.math.log(tf.maximum(values, _TINY))


def _log_odds(values: Any, answers: Answers) -> Any:
    if answers.logits:
        return values
    sure = tf.clip_by_value(values, _TINY, 1 - _TINY)
    return tf.math.log(sure) - tf.math.log(1 - sure)


def chosen(outputs: Mapping[str, Array]) -> list[str]:
    """Outputs that can be learned: real numbers."""
    return [name for name, value in outputs.items() if value.dtype.kind == "f"]
