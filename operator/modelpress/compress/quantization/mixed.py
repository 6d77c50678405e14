"""A precision for each layer: as many integers as the gate allows, the most sensitive layers spared first.

Whole-model int8 is tried first, then the number of spared layers is found by doubling and halving, in the order of
measured sensitivity. What passes gets int4 weights in as many dense layers as it bears. All decisions
rest on outputs for calibration rows, never on the clock: equal inputs, equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from modelpress.compress.quantization import layers as flatbuffer_layers
from modelpress.compress.quantization import rewriting, sensitivity
from modelpress.compress.quantization.comparison import BROKEN, Comparison, Loss
from modelpress.compress.quantization.layers import Layer
from modelpress.compress.quantization.precision import Assignment, Precision
from modelpress.compress.quantization.ranges import UPDATES, Ranges, Update
from modelpress.compress.quantization.sensitivity import Sensitive
from modelpress.compress.tflite import NotConvertible

TRIALS = 20
"""Of whole models; a layer alone is not counted."""
STRICTER = 0.25
"""Share of what was tolerated and lost that a stricter result may lose."""
_NEARLY = 1.1
_DENSE = "FULLY_CONNECTED"
"""The kind of layer whose int4 kernels are as fast as int8's; those of convolutions are slower than float32."""
_WORTH = 0.1
"""Share of all weights that dense layers hold; with less, int4 hardly makes the model smaller."""


@dataclass(frozen=True)
class Trial:
    """A whole model that was tried."""

    assignment: Assignment
    update: Update
    spared: tuple[str, ...]
    """Names of layers that stay float32."""
    fewer: tuple[str, ...]
    """Names of layers with int4 weights."""
    content: bytes
    loss: Loss


@dataclass
class Search:
    """What is searched for, and what was found so far."""

    content: bytes
    """The float32 flatbuffer."""
    layers: Sequence[Layer]
    ranges: Ranges
    ordering: Comparison
    """Rows that layers are ordered by."""
    judging: Comparison
    """Other rows, that decide."""
    tolerance: Loss
    settings: Assignment
    """Granularity, symmetry, and layers that stay float32 in any case."""
    may_lighten: bool = True
    """Whether `judging` can tell what four bits lose; a model that had to be rescued is left as it is."""
    trials: list[Trial] = field(default_factory=list)
    _known: dict[tuple[Precision, Update, tuple[str, ...], tuple[str, ...]], Trial] = field(
        default_factory=dict, init=False
    )
    _ordered: dict[tuple[Precision, Update], list[Sensitive]] = field(default_factory=dict, init=False)
    _most: int = field(default=TRIALS, init=False)

    def stricter(self) -> Trial:
        """The smallest that loses clearly less than `result`, which was found to lose too much elsewhere.

        It may take `TRIALS` more; where none loses so little, the one that loses least. Raises NotConvertible.
        """
        lost = self.result().loss
        self.tolerance = Loss(*(STRICTER * min(pair) for pair in zip(self.tolerance, lost, strict=True)))
        self._most = len(self.trials) + TRIALS
        return self.result()

    def result(self) -> Trial:
        """The smallest that passes; where none does, the one that loses least. Raises NotConvertible."""
        full = [self._tried(base, update, ()) for base, update in _bases()]
        if not any(one.loss.within(self.tolerance) for one in full):
            best: dict[Precision, Trial] = {}
            for one in full:
                known = best.get(one.assignment.base)
                if known is None or one.loss < known.loss:
                    best[one.assignment.base] = one
            for one in sorted(best.values(), key=lambda one: one.loss):
                if not self._is_near(one):
                    self._spare(one)
        if not self.trials:
            raise NotConvertible("NotQuantizable", "no layer of this model can be quantized")
        passing = [one for one in self.trials if one.loss.within(self.tolerance)]
        if not passing:
            return min(self.trials, key=lambda one: one.loss)
        smallest = min(passing, key=self._cost)
        if self.may_lighten and not smallest.spared:
            self._lighten(smallest)
        return min((one for one in self.trials if one.loss.within(self.tolerance)), key=self._cost)

    def _tried(self, base: Precision, update: Update, spared: Sequence[Layer], fewer: Sequence[Layer] = ()) -> Trial:
        spared_names, fewer_names = (tuple(layer.name for layer in group) for group in (spared, fewer))
        key = base, update, spared_names, fewer_names
        if key not in self._known:
            self._known[key] = self._made(base, update, spared, fewer)
            if self._known[key].content:
                self.trials.append(self._known[key])
        return self._known[key]

    def _made(self, base: Precision, update: Update, spared: Sequence[Layer], fewer: Sequence[Layer]) -> Trial:
        scopes = [scope for layer in spared for scope in sensitivity.scopes(layer, base)]
        scopes += self._floats(base)
        four: dict[str, Precision] = dict.fromkeys((layer.operation.scope for layer in fewer), "DynamicInt4")
        assignment = Assignment(
            base, {}, self.settings.per_channel, self.settings.symmetric_activations, rounding="Octav"
        ).but({**four, **dict.fromkeys(scopes, "Float32"), **self.settings.exceptions})
        spared_names, fewer_names = (tuple(layer.name for layer in group) for group in (spared, fewer))
        try:
            content = rewriting.quantize(self.content, assignment, self.ranges.of(update))
        except NotConvertible:
            return Trial(assignment, update, spared_names, fewer_names, b"", BROKEN)
        return Trial(assignment, update, spared_names, fewer_names, content, self.judging.of(content))

    def _spare(self, whole: Trial) -> None:
        """The fewest most sensitive layers that have to stay float32, within the budget of trials."""
        base, update = whole.assignment.base, whole.update
        floats = self._floats(base)
        free = [layer for layer in self.layers if layer.operation.scope not in floats]
        order = [one.layer for one in self._alone(free, base, update, self.settings)]
        low, high = 0, 1
        while not self._passes(base, update, order[:high]):
            if high >= len(order) or self._is_spent:
                return
            low, high = high, min(2 * high, len(order))
        while high - low > 1 and not self._is_spent:
            middle = (low + high) // 2
            low, high = (low, middle) if self._passes(base, update, order[:middle]) else (middle, high)

    def _lighten(self, passing: Trial) -> None:
        """The most dense layers that bear int4 weights, those that lose least for their size first."""
        base, update = passing.assignment.base, passing.update
        floats = self._floats(base)
        dense = [one for one in self.layers if one.operation.kind == _DENSE and one.operation.scope not in floats]
        if _weights(dense) < _WORTH * _weights(self.layers):
            return
        settings = replace(self.settings, rounding="Octav")
        found = self._alone(dense, "DynamicInt4", update, settings)
        order = [one.layer for one in sorted(found, key=lambda one: one.loss.variance / one.layer.operation.weights)]
        low, high = 0, len(order) + 1
        middle = len(order)
        while high - low > 1 and not self._is_spent:
            passes = self._tried(base, update, (), order[:middle]).loss.within(self.tolerance)
            low, high = (middle, high) if passes else (low, middle)
            middle = (low + high) // 2

    def _alone(
        self, found: Sequence[Layer], precision: Precision, update: Update, settings: Assignment
    ) -> list[Sensitive]:
        """What each of these layers alone loses; the most sensitive first."""
        key = precision, update
        if key not in self._ordered:
            statistics = self.ranges.of(update)
            self._ordered[key] = sensitivity.ordered(
                self.content, found, precision, statistics, self.ordering, settings
            )
        return self._ordered[key]

    def _passes(self, base: Precision, update: Update, spared: Sequence[Layer]) -> bool:
        return self._tried(base, update, spared).loss.within(self.tolerance)

    def _floats(self, base: Precision) -> tuple[str, ...]:
        """Scopes of layers that stay float32 for the sake of speed."""
        if base != "DynamicInt8":
            return ()
        return flatbuffer_layers.without_gain(layer.operation for layer in self.layers)

    def _is_near(self, whole: Trial) -> bool:
        """Whether a model that passes is hardly larger than this one is with no layer spared."""
        limit = _NEARLY * len(whole.content)
        return any(one.loss.within(self.tolerance) and len(one.content) <= limit for one in self.trials)

    def _cost(self, trial: Trial) -> tuple[float, int, Loss]:
        """Bytes to the percent of the float32 model; then the faster base; then what is lost."""
        share = round(len(trial.content) / len(self.content), 2)
        return share, 0 if trial.assignment.base == "StaticInt8" else 1, trial.loss

    @property
    def _is_spent(self) -> bool:
        return len(self.trials) >= self._most


def _weights(found: Sequence[Layer]) -> int:
    return sum(layer.operation.weights for layer in found)


def _bases() -> list[tuple[Precision, Update]]:
    """The faster first, for equal sizes."""
    static: list[tuple[Precision, Update]] = [("StaticInt8", update) for update in UPDATES]
    return [*static, ("DynamicInt8", "MinMax")]
