"""`quantize` as a TFLite flatbuffer: what each scheme makes of a float32 one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from modelpress.api.recipe import Quantize
from modelpress.compress.quantization import centring, layers, mixed, ranges, rewriting
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
    is_stricter: bool = False
    """Whether Mixed shall lose clearly less than is tolerated: on other rows that was found to be too much."""


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
    learnt: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """As `step.Changed.ranges`."""

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
    if quantize.scheme in CALIBRATED:
        return _calibrated(original, settings, quantize, calibration, converted)
    base: Precision = "DynamicInt4" if quantize.scheme == "Int4Weights" else "DynamicInt8"
    floats = layers.without_gain(found) if base == "DynamicInt8" else ()
    settings = settings.but(dict.fromkeys(floats, "Float32"))
    settings = replace(settings, base=base, rounding="Octav" if base == "DynamicInt4" else "MinMax")
    original, settings, notes = _with_zero_points(original, settings, quantize)
    tables = ranges.of_tables(original.content)
    settings = settings.but(dict.fromkeys(_gathered(original.operations(), tables), "Float32"))
    return Quantized(rewriting.quantize(original.content, settings, tables), notes)


def _with_zero_points(
    original: Float, settings: Assignment, quantize: Quantize
) -> tuple[Float, Assignment, tuple[str, ...]]:
    """The flatbuffer whose weights have their zero points apart, what is quantized of it, and a note."""
    if quantize.weights != "Asymmetric":
        return original, settings, ()
    bits = 4 if quantize.scheme == "Int4Weights" else 8
    found = centring.centred(
        original.content, original.variables, settings.exceptions, bits=bits, per_channel=settings.per_channel
    )
    exceptions = settings.but({**dict.fromkeys(found.floats, "Float32"), **dict.fromkeys(found.rounded, "DynamicInt4")})
    return (
        Float(found.content, found.variables, original.learnt),
        replace(exceptions, on_grid=frozenset(found.rounded)),
        (found.note,),
    )


def _gathered(found: Sequence[Operation], tables: Collection[str]) -> list[str]:
    """Scopes of what picks from activations instead of tables: without examples nobody knows their ranges."""
    return [one.scope for one in found if one.kind == "GATHER" and one.scope.removesuffix(";") not in tables]


def _calibrated(
    original: Float,
    settings: Assignment,
    quantize: Quantize,
    calibration: Calibration | None,
    converted: Callable[[], bytes] | None,
) -> Quantized:
    if calibration is None:
        raise NotConvertible("DataRequired", f"{quantize.scheme} measures activations on examples, and there are none")
    used, judged = _split(calibration.batches)
    reference = original.content
    judging = Comparison(reference, calibration.signature, judged, beat=calibration.beat)
    original, settings, notes = _with_zero_points(original, settings, quantize)
    measured = ranges.measured(original.content, calibration.signature, used).with_learnt(original.learnt)
    if quantize.scheme == "Mixed":
        ordering = Comparison(reference, calibration.signature, used[:_ORDERING], beat=calibration.beat)
        made = _mixed(original, measured, ordering, judging, calibration, settings)
    else:
        may_convert = not settings.exceptions and not settings.symmetric_activations and not notes
        made = _static(original, settings, measured, judging, converted if may_convert else None)
    return Quantized(made.content, (*made.notes, *notes))


def _static(
    original: Float,
    settings: Assignment,
    measured: Ranges,
    judging: Comparison,
    converted: Callable[[], bytes] | None,
) -> Quantized:
    """The way of joining ranges that loses less on rows that were not calibrated on."""
    assignment = replace(settings, base="StaticInt8")
    tried: list[tuple[Loss, Update, bytes]] = []
    refusal: NotConvertible | None = None
    for update in measured.by_update:
        try:
            content = rewriting.quantize(original.content, assignment, measured.of(update))
        except NotConvertible as error:
            refusal = error
            continue
        tried.append((judging.of(content), update, content))
    if not any(loss != BROKEN for loss, _, _ in tried):
        if converted is None:
            raise refusal or NotConvertible("NotQuantizable", "no layer of this model can be quantized")
        content = converted()
        why = refusal or "what the quantizer wrote does not run"
        return Quantized(content, (f"StaticInt8 by TensorFlow's converter: {why}",))
    loss, update, content = min(tried, key=lambda one: one[0])
    return Quantized(content, (f"activation ranges by {update}: {loss} lost on {len(judging)} held-out rows",))


def _mixed(
    original: Float,
    measured: Ranges,
    ordering: Comparison,
    judging: Comparison,
    calibration: Calibration,
    settings: Assignment,
) -> Quantized:
    free = [one for one in layers.layers(original.operations()) if one.operation.scope not in settings.exceptions]
    wanted, rows = calibration.tolerance, len(judging)
    tolerance, may_lighten = wanted.told_by(rows), wanted.is_told_by(rows)
    search = mixed.Search(original.content, free, measured, ordering, judging, tolerance, settings, may_lighten)
    chosen = search.stricter() if calibration.is_stricter else search.result()
    name, limit = ("Mixed stricter", "the stricter limit") if calibration.is_stricter else ("Mixed", "the gate")
    spared = f"float32: {', '.join(chosen.spared)}" if chosen.spared else "no layer float32"
    fewer = f"int4 weights in {len(chosen.fewer)} dense layers, " if chosen.fewer else ""
    missed = (
        "" if chosen.loss.within(search.tolerance) else f"; no assignment stays within {limit}, this one is nearest"
    )
    return Quantized(
        chosen.content,
        (
            f"{name}: {chosen.assignment.base}, {fewer}{spared}; {chosen.loss} lost on {rows} held-out rows"
            f" after {len(search.trials)} trials{missed}",
        ),
    )


def _split(batches: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """Batches to measure on and batches to judge by; the same where there are too few to divide."""
    if len(batches) < _HELD_OUT:
        return list(batches), list(batches)
    judged = [batch for place, batch in enumerate(batches) if place % _HELD_OUT == 0]
    return [batch for place, batch in enumerate(batches) if place % _HELD_OUT], judged
