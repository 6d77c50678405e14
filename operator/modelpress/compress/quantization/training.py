"""Quantization-aware training: weights learn to do well as the int8 numbers that they will be.

Before the loss of each batch is taken, kernels are replaced by what int8 keeps of them, with the scales that the
quantizer will use; the gradient found there is applied to the float32 kernels (the straight-through estimator, Bengio
et al. 2013; Jacob et al. 2018). Ranges of activations are measured on examples afterwards, for the weights learned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Quantize
from modelpress.compress import graph
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps import fine_tune
from modelpress.compress.steps.step import Changed, Setting
from modelpress.compress.training import loop, weights
from modelpress.compress.training.course import Course, Loss

_LARGEST = 127.0
"""Of int8, without -128: zero is in the middle."""
_CHANNELS: Mapping[str, tuple[int, ...]] = {
    "Conv2D": (3,),
    "DepthwiseConv2dNative": (2, 3),
    "Conv2DBackpropInput": (2,),
    "MatMul": (1,),
    "BatchMatMulV2": (-1,),
    "GatherV2": (),
    "ResourceGather": (),
}
"""Operation -> axes of its kernel of which each channel has a scale of its own; none: one scale."""


def apply(opened: OpenedModel, step: Quantize, setting: Setting) -> Changed:
    """Trains the variables in place on labels.

    Raises Invalid `StepCannotApply` where no kernel that int8 would hold is a variable, `UnknownLayer`, and what
    `fine_tune.apply` raises.
    """
    chosen = weights.chosen(opened.variables(), step.exclude_layers, field=setting.field)
    axes = _axes(opened, chosen, setting.field)
    if step.granularity == "PerTensor":
        axes = dict.fromkeys(axes, ())
    kernels = [(chosen[position], kept) for position, kept in axes.items()]
    task = fine_tune.task(opened, setting)
    course = Course(step.epochs, step.learning_rate, setting.training, "Training for int8", setting.field)
    history = loop.train(dataclasses.replace(task, loss=_as_integers(task.loss, kernels)), course, setting.place)
    return Changed(f"quantize: {len(kernels)} kernels trained as int8, {history.note}")


def rounded(values: Any, axes: tuple[int, ...]) -> Any:
    """What int8 with zero in the middle keeps of a kernel, one scale for each place along `axes`."""
    rank = len(values.shape)
    others = [axis for axis in range(rank) if axis not in {axis % rank for axis in axes}]
    scale = tf.reduce_max(tf.abs(values), axis=others, keepdims=True) / _LARGEST
    return tf.round(tf.math.divide_no_nan(values, scale)) * scale


def _as_integers(loss: Loss, kernels: list[tuple[Any, tuple[int, ...]]]) -> Loss:
    """The loss with kernels rounded; they are as before when it was taken."""

    def found(inputs: dict[str, Any], labels: dict[str, Any]) -> Any:
        floats = [variable.read_value() for variable, _ in kernels]
        for (variable, axes), values in zip(kernels, floats, strict=True):
            variable.assign(rounded(values, axes))
        total = loss(inputs, labels)
        with tf.control_dependencies([total]):
            for (variable, _), values in zip(kernels, floats, strict=True):
                variable.assign(values)
        return total

    return found


def _axes(opened: OpenedModel, chosen: Mapping[int, Any], field: str) -> dict[int, tuple[int, ...]]:
    """Position of a kernel -> axes with scales of their own, as the operations that use it say."""
    try:
        frozen = graph.freeze(opened).graph
    except graph.NotFreezable as error:
        raise Invalid("StepCannotApply", f"{error}, so that it cannot be trained for int8", field=field) from error
    positions = {variable.name.split(":")[0]: position for position, variable in chosen.items()}
    found: dict[int, tuple[int, ...]] = {}
    for node in frozen.node:
        for source in node.input:
            position = positions.get(source.partition(":")[0])
            if position is not None and node.op in _CHANNELS:
                found[position] = (0,) if _is_transposed(node) else _CHANNELS[node.op]
    if not found:
        raise Invalid(
            "StepCannotApply",
            f"none of {', '.join(list(positions)[:12])} is the kernel of a convolution or a dense layer; "
            "set epochs to 0",
            field=field,
        )
    return found


def _is_transposed(node: Any) -> bool:
    return node.op == "MatMul" and bool(node.attr["transpose_b"].b)
