"""`quantize` as a TFLite flatbuffer: what each scheme makes of a float32 one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from modelpress.api.recipe import Quantize
from modelpress.compress.quantization import layers, mixed, ranges, rewriting
from modelpress.compress.quantization.comparison import BROKEN, Batch, Comparison, Loss, unlimited
from modelpress.compress.quantization.layers import Operation
from modelpress.compress.quantization.precision import Assignment, Precision
from modelpress.compress.quantization.ranges import Ranges, Update
from modelpress.compress.tflite import NotConvertible

SCHEMES = ("DynamicInt8", "StaticInt8", "Int4Weights", "Mixed")
"""What `quantized` makes; the others need no flatbuffer."""
CALIBRATED = ("StaticInt8", "Mixed")
"""Schemes that measure activations on examples."""
_HELD_OUT = 4
"""One of so many batches decides and is not calibrated on."""
_ORDERING = 32
"""Batches that layers are ordered by."""


@dataclass(frozen=True)
class Calibration:
    """Examples for activations, and what their outputs may lose."""

    signature: str
    batches: Sequence[Batch]
    """Small batches of the signature's inputs."""
    tolerance: Loss
    beat: Callable[[], None] = unlimited
    """Called now and then; may end the work by what it raises."""


class Quantized(NamedTuple):
    """A flatbuffer, and notes for people."""

    content: bytes
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Float:
    """A float32 flatbuffer."""

    content: bytes
    variables: Mapping[str, str]
    """Layers' names, as from `layers.variable_layers`."""

    def operations(self) -> list[Operation]:
        """Operations under the names that people know."""
        return layers.operations(self.content, self.variables)


def quantized(
    original: Float,
    quantize: Quantize,
    calibration: Calibration | None,
    *,
    field: str,
    converted: Callable[[], bytes] | None = None,
) -> Quantized:
    """The flatbuffer under a scheme of `SCHEMES`; `calibration` is needed for those of `CALIBRATED`.

    `field` is the step's path, for errors. `converted` makes StaticInt8 another way, where the first way cannot.
    Raises Invalid `UnknownLayer`, NotConvertible.
    """
    found = original.operations()
    spared = layers.matching(found, quantize.exclude_layers, field=field)
    settings = Assignment(
        "Float32",
        dict.fromkeys(spared, "Float32"),
        per_channel=quantize.granularity != "PerTensor",
        symmetric_activations=quantize.activations == "Symmetric",
    )
    if quantize.scheme not in CALIBRATED:
        base: Precision = "DynamicInt4" if quantize.scheme == "Int4Weights" else "DynamicInt8"
        tables = ranges.of_tables(original.content)
        floats = layers.without_gain(found) if base == "DynamicInt8" else ()
        assignment = Assignment(
            base,
            {**settings.exceptions, **dict.fromkeys((*floats, *_gathered(found, tables)), "Float32")},
            settings.per_channel,
            rounding="Octav" if base == "DynamicInt4" else "MinMax",
        )
        return Quantized(rewriting.quantize(original.content, assignment, tables), ())
    if calibration is None:
        raise NotConvertible("DataRequired", f"{quantize.scheme} measures activations on examples, and there are none")
    used, judged = _split(calibration.batches)
    measured = ranges.measured(original.content, calibration.signature, used)
    judging = Comparison(original.content, calibration.signature, judged, beat=calibration.beat)
    if quantize.scheme == "Mixed":
        ordering = Comparison(original.content, calibration.signature, used[:_ORDERING], beat=calibration.beat)
        return _mixed(original, found, measured, ordering, judging, calibration.tolerance, settings)
    return _static(original, settings, measured, judging, converted)


def _gathered(found: Sequence[Operation], tables: Collection[str]) -> list[str]:
    """Scopes of what picks from activations instead of tables: without examples nobody knows their ranges."""
    return [one.scope for one in found if one.kind == "GATHER" and one.scope.removesuffix(";") not in tables]


def _static(
    original: Float,
    settings: Assignment,
    measured: Ranges,
    judging: Comparison,
    converted: Callable[[], bytes] | None,
) -> Quantized:
    """The way of joining ranges that loses less on rows that were not calibrated on."""
    assignment = Assignment("StaticInt8", settings.exceptions, settings.per_channel, settings.symmetric_activations)
    tried: list[tuple[Loss, Update, bytes]] = []
    refusal: NotConvertible | None = None
    for update in ranges.UPDATES:
        try:
            content = rewriting.quantize(original.content, assignment, measured.of(update))
        except NotConvertible as error:
            refusal = error
            continue
        tried.append((judging.of(content), update, content))
    if not any(loss != BROKEN for loss, _, _ in tried):
        if converted is None or settings.exceptions or settings.symmetric_activations:
            raise refusal or NotConvertible("NotQuantizable", "no layer of this model can be quantized")
        content = converted()
        why = refusal or "what the quantizer wrote does not run"
        return Quantized(content, (f"StaticInt8 by TensorFlow's converter: {why}",))
    loss, update, content = min(tried, key=lambda one: one[0])
    return Quantized(content, (f"activation ranges by {update}: {loss} lost on {len(judging)} held-out rows",))


def _mixed(
    original: Float,
    found: Sequence[Operation],
    measured: Ranges,
    ordering: Comparison,
    judging: Comparison,
    tolerance: Loss,
    settings: Assignment,
) -> Quantized:
    free = [one for one in layers.layers(found) if one.operation.scope not in settings.exceptions]
    may_lighten, tolerance = tolerance.is_told_by(len(judging)), tolerance.told_by(len(judging))
    search = mixed.Search(original.content, free, measured, ordering, judging, tolerance, settings, may_lighten)
    chosen = search.result()
    spared = f"float32: {', '.join(chosen.spared)}" if chosen.spared else "no layer float32"
    fewer = f"int4 weights in {len(chosen.fewer)} dense layers, " if chosen.fewer else ""
    missed = "" if chosen.loss.within(tolerance) else "; no assignment stays within the gate, this one is nearest"
    return Quantized(
        chosen.content,
        (
            f"Mixed: {chosen.assignment.base}, {fewer}{spared}; {chosen.loss} lost on {len(judging)} held-out rows"
            f" after {len(search.trials)} trials{missed}",
        ),
    )


def _split(batches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """Batches to measure on and batches to judge by; the same where there are too few to divide."""
    if len(batches) < _HELD_OUT:
        return list(batches), list(batches)
    judged = [batch for place, batch in enumerate(batches) if place % _HELD_OUT == 0]
    return [batch for place, batch in enumerate(batches) if place % _HELD_OUT], judged
