"""What a guided search may vary: how much structure goes, how it is trained back, the scheme, the layers it spares."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from modelpress.api.artifact import Form
from modelpress.api.trial import Trial
from modelpress.compress.search import anatomy, climbing, front, move
from modelpress.compress.search.anatomy import Net
from modelpress.compress.search.move import Move

if TYPE_CHECKING:
    from modelpress.compress.bench import Bench

WAYS = ("none", "prune", "fineTune", "distill", "shallow")
"""How a model becomes smaller: not at all; filters removed; removed and trained on; a student of that width or depth.
"""
TRAINED = ("fineTune", "distill", "shallow")
WIDTHS = ("fineTune", "distill")
"""Those that begin with what `prune` leaves."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Of filters, or of blocks, to be removed."""
FIRST_SHARE = 0.4
IMPOSSIBLE = "StepCannotApply"
"""Verdict of a step that the graph does not bear; at small shares also where that is less than one filter."""
CLIMBED = ("prune", "shallow", "distill", "fineTune")
"""The cheapest first, which trains nothing, then the best: blocks that go save most time, and on labels alone a net
learns less than from its teacher."""
RATES = (3e-3, 1e-3, 3e-4, 1e-4)
EPOCHS = (1, 2, 4, 8)
USUAL_EPOCHS, USUAL_UPDATES = 2, 500
"""So many updates at least, as far as epochs allow: a student that begins with the source's weights needs no more."""
USUAL_RATE, USUAL_RATE_OF_BATCHES = 1e-4, 1e-3
"""For layers that are scaled by nothing or by themselves, as in transformers; and for those normalised by batches."""
LEAST_BLOCKS = 4
"""In a row, to do without some."""
SPARED = (0, 1, 2, 3, 5, 8)
"""How many of the most sensitive layers stay float."""
_EXAMPLE: dict[str, Any] = {"way": "prune", "share": 0.5, "rate": 1e-3, "epochs": 1}
_USUAL = {"way": "none", "share": FIRST_SHARE, "spared": 0}
INTEGERS = ("DynamicInt8", "StaticInt8")
FEWER_BITS = ("Int4Weights", "Mixed")
"""Combined with the rest only where they passed alone: what they lose, no training step here is told of. Where nothing
passed, it is enough that they kept the metric."""


class Space:
    """Optuna's parameters, and the move that each point of their space stands for."""

    def __init__(
        self,
        bench: Bench,
        trials: Sequence[Trial],
        objective: str,
        layers: Callable[[], tuple[str, ...]],
        net: Callable[[], Net] = Net,
    ) -> None:
        """`layers` gives the names of layers, the most sensitive first; asked only where they may be spared.

        `net` tells what the source is made of; asked only where something can be trained.
        """
        self._recipe, self._device = bench.request.recipe, bench.request.target.device
        self._is_saved_model = self._device == "GPU" or self._recipe.format == "SavedModel"
        self._objective = objective
        self._schemes = self._integers(bench, trials, objective)
        self._is_stricter = _passed_stricter_alone(trials)
        self._layers = layers() if self._may_spare(trials, objective) else ()
        self._net = net() if "training" in bench.examples.sets else Net()
        self._ways = self._possible_ways(bench, trials, objective)
        self.distributions = self._possible()

    def move(self, parameters: dict[str, Any]) -> Move | None:
        """The move of a point; None where it is none, e.g. fewer layers than are to be spared."""
        spared = parameters.get("spared", 0)
        if spared > len(self._layers):
            return None
        quantize: dict[str, Any] = {"scheme": parameters.get("scheme", self._schemes[0])}
        if spared:
            quantize["excludeLayers"] = [f"^{re.escape(name)}$" for name in self._layers[:spared]]
        steps = [*_smaller(parameters), {"quantize": quantize}]
        found = move.of_steps(steps, self._form, self._recipe, self._device, parameters)
        is_stricter = self._is_stricter and quantize["scheme"] == "Mixed"
        return found.stricter if found is not None and is_stricter else found

    def is_hopeless(self, parameters: dict[str, Any], trials: Sequence[Trial]) -> bool:
        """Whether the model's graph does not bear the point's way, whatever the share, as earlier trials found."""
        way = parameters.get("way", "none")
        first = {way, "prune"} if way in WIDTHS else {way}
        return way != "none" and any(
            trial.verdict == IMPOSSIBLE and trial.parameters["share"] >= FIRST_SHARE
            for trial in trials
            if trial.parameters.get("way") in first
        )

    def starts(self, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        """Points that experience says are good, after these trials: each way goes on from what passed to more."""
        ways = [point for way in CLIMBED if way in self._ways for point in self._climbing(way, trials)]
        sparing = [
            {"spared": count, "scheme": scheme} for count in (1, 2) for scheme in self._eight_bits if self._layers
        ]
        points = [*ways, *sparing] if set(self._ways) & set(TRAINED) else [*sparing, *ways]
        points += self._otherwise(trials)
        usual = self._usual
        return [{name: {**usual, **point}[name] for name in self.distributions} for point in points]

    @property
    def _usual(self) -> dict[str, Any]:
        rate = USUAL_RATE_OF_BATCHES if self._net.is_normalised else USUAL_RATE
        return {**_USUAL, "rate": rate, "epochs": self._epochs, "scheme": self._schemes[0]}

    @property
    def _epochs(self) -> int:
        if not self._net.updates:
            return USUAL_EPOCHS
        return next((count for count in EPOCHS[:-1] if count * self._net.updates >= USUAL_UPDATES), EPOCHS[-2])

    def parameters(self, name: str) -> dict[str, Any] | None:
        """The point of a move of the ladder; None where it has none."""
        for scheme in self._schemes:
            point = {key: scheme if key == "scheme" else self._usual[key] for key in self.distributions}
            found = self.move(point)
            if found is not None and found.name == name:
                return point
        return None

    @property
    def _form(self) -> Form:
        return "SavedModel" if self._is_saved_model else "TFLite"

    @property
    def _eight_bits(self) -> list[str]:
        """Mixed spares layers by itself."""
        return [scheme for scheme in self._schemes if scheme in INTEGERS]

    def _possible(self) -> dict[str, BaseDistribution]:
        found: dict[str, BaseDistribution] = {}
        if self._layers:
            found["spared"] = CategoricalDistribution([count for count in SPARED if count <= len(self._layers)])
        if len(self._ways) > 1:
            found["way"] = CategoricalDistribution(self._ways)
            found["share"] = CategoricalDistribution(SHARES)
        if set(self._ways) & set(TRAINED):
            found["rate"] = CategoricalDistribution(RATES)
            found["epochs"] = CategoricalDistribution(EPOCHS)
        if found and len(self._schemes) > 1:
            found["scheme"] = CategoricalDistribution(self._schemes)
        return found

    def _integers(self, bench: Bench, trials: Sequence[Trial], objective: str) -> tuple[str, ...]:
        """Schemes to combine with the rest: those that alone leave room for more loss first, and the best of them."""
        if self._is_saved_model:
            return ("Float16",)
        known = INTEGERS if bench.examples.calibration() is not None else INTEGERS[:1]
        best = _best(trials, objective)
        accurate = [trial for trial in trials if front.is_accurate(trial)]
        kept = [trial for trial in accurate if trial.passed] or accurate
        known = (*known, *(scheme for scheme in FEWER_BITS if any(_has(trial, scheme) for trial in kept)))

        def rank(scheme: str) -> tuple[bool, bool, bool]:
            is_lossless = any(_has(trial, scheme) and front.is_lossless(trial) for trial in kept)
            is_best = best is not None and _has(best, scheme)
            return not any(_has(trial, scheme) for trial in accurate), not is_lossless, not is_best

        return tuple(sorted(known, key=rank))

    def _may_spare(self, trials: Sequence[Trial], objective: str) -> bool:
        """Where integers alone pass, or each scheme keeps the metric, floats only make a model larger and slower."""
        if self._is_saved_model or not self._is_known(
            [{"quantize": {"scheme": "DynamicInt8", "excludeLayers": ["x"]}}]
        ):
            return False
        alone = [trial for trial in trials if not trial.parameters and any(_has(trial, one) for one in INTEGERS)]
        if any(trial.passed for trial in alone):
            return objective == "Metric"
        return not alone or not all(front.is_accurate(trial) for trial in alone)

    def _possible_ways(self, bench: Bench, trials: Sequence[Trial], objective: str) -> tuple[str, ...]:
        """By the data there are, what the model is, and what this release can do; structure goes from one graph."""
        if bench.unfreezable is not None:
            return ("none",)
        rows = bench.examples.calibration() is not None and objective != "Metric"
        bears = any(_has(trial, self._schemes[0]) for trial in trials if front.is_accurate(trial))
        ways = ["none", *(["prune"] if rows and bears and self._is_known(_smaller(_EXAMPLE)) else [])]
        training = bench.examples.sets.get("training")
        if training is None:
            return tuple(ways)
        known = [way for way in TRAINED if self._is_known(_smaller(_EXAMPLE | {"way": way}))]
        if self._net.blocks < LEAST_BLOCKS:
            known = [way for way in known if way != "shallow"]
        return (*ways, *(way for way in known if way != "fineTune" or training.rows.targets))

    def _climbing(self, way: str, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        """The next point of a way: the next share; where the largest that passes is known, longer at the one above."""
        if self.is_hopeless({"way": way}, trials):
            return []
        tried: dict[float, bool] = {}
        for trial in trials:
            how = trial.parameters.get("way")
            good = front.is_accurate(trial)  # what is still too large, or too slow, needs a larger share
            if how == way or (how == "prune" and way in WIDTHS and good):  # what needs no training bears it
                share = trial.parameters["share"]
                tried[share] = tried.get(share, False) or good
        share = climbing.following(SHARES, FIRST_SHARE, tried)
        if share is not None:
            return [{"way": way, "share": share}]
        if way not in TRAINED:
            return []
        above = climbing.edge(tried)
        longer = EPOCHS[EPOCHS.index(self._epochs) + 1]
        return [] if above is None else [{"way": way, "share": above, "epochs": longer}]

    def _otherwise(self, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        """The best smaller net so far in the other schemes: its steps are done, which took the time."""
        smaller = [trial for trial in trials if trial.parameters.get("way", "none") != "none"]
        best = _best(smaller, self._objective)
        return [] if best is None else [{**best.parameters, "scheme": scheme} for scheme in self._schemes]

    def _is_known(self, steps: list[dict[str, Any]]) -> bool:
        recipe = self._recipe.model_copy(update={"format": "Auto"})
        return move.of_steps(steps, self._form, recipe, self._device) is not None


def _has(trial: Trial, scheme: str) -> bool:
    return f"quantize {scheme}" in trial.recipe


def _passed_stricter_alone(trials: Sequence[Trial]) -> bool:
    """Whether Mixed kept the metric, but only where it was to lose clearly less."""
    kept = [trial.recipe for trial in trials if front.is_accurate(trial) and _has(trial, "Mixed")]
    return bool(kept) and all(recipe.endswith(move.STRICTER) for recipe in kept)


def _best(trials: Sequence[Trial], objective: str) -> Trial | None:
    """Where none passed, the nearest of those that keep the metric."""
    return front.best(trials, objective) or front.nearest([trial for trial in trials if front.is_accurate(trial)])


def _smaller(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps that remove structure and train."""
    way = parameters.get("way", "none")
    if way == "none":
        return []
    share = parameters["share"]
    prune = {"structure": "Filter", "criterion": "Reconstruction", "sparsity": share}
    if way == "prune":
        return [{"prune": prune}]
    training = {"epochs": parameters["epochs"], "learningRate": parameters["rate"]}
    if way == "distill":
        return [{"distill": {"student": {"width": round(1 - share, 2)}, **training}}]
    if way == "shallow":
        return [{"distill": {"student": {"depth": round(1 - share, 2)}, **training}}]
    return [{"prune": prune}, {"fineTune": training}]


def of(bench: Bench, trials: Sequence[Trial], objective: str) -> Space:
    """The space of a model and its data, after the trials of the ladder."""
    from modelpress.compress.search import sensitivity

    return Space(bench, trials, objective, lambda: sensitivity.layers(bench), lambda: anatomy.of(bench))
