"""How much a model loses when one layer alone is quantized, layer by layer: the most sensitive come first.

What layers lose together is close to the sum of what each loses alone (Zhou et al., Adaptive Quantization for
Deep Neural Networks, 2018), so the order says which layers to spare first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from modelpress.compress.quantization import rewriting
from modelpress.compress.quantization.comparison import BROKEN, Comparison, Loss
from modelpress.compress.quantization.layers import Layer
from modelpress.compress.quantization.precision import Assignment, Precision
from modelpress.compress.quantization.ranges import Statistics
from modelpress.compress.tflite import NotConvertible


class Sensitive(NamedTuple):
    """A layer and what quantizing it alone loses."""

    layer: Layer
    loss: Loss


def ordered(
    content: bytes,
    layers: Sequence[Layer],
    precision: Precision,
    statistics: Statistics,
    comparison: Comparison,
    settings: Assignment,
) -> list[Sensitive]:
    """All layers, the most sensitive first, equal ones in the order in which they run.

    `content` is the float32 flatbuffer; the base of `settings` is not looked at.
    """
    alone = Assignment(
        "Float32",
        per_channel=settings.per_channel,
        symmetric_activations=settings.symmetric_activations,
        rounding=settings.rounding,
    )
    found = []
    for layer in layers:
        only = alone.but({**dict.fromkeys(scopes(layer, precision), precision), **settings.exceptions})
        try:
            loss = comparison.of(rewriting.quantize(content, only, statistics))
        except NotConvertible:
            loss = BROKEN
        found.append(Sensitive(layer, loss))
    return sorted(found, key=lambda one: -one.loss.variance)


def scopes(layer: Layer, precision: Precision) -> tuple[str, ...]:
    """The operations that a precision concerns: static ranges also those between layers with weights."""
    return layer.scopes if precision == "StaticInt8" else (layer.operation.scope,)
