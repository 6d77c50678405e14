"""What a guided search may vary: how much structure goes, how it is trained back, the scheme, the layers it spares."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from modelpress.compress.bench import Bench
from modelpress.compress.search import move
from modelpress.compress.search.move import Move

FILTERS = (0.0, 0.2, 0.3, 0.4, 0.5)
"""Shares of filters to be removed."""
RATES = (1e-3, 3e-4, 1e-4)
EPOCHS = (1, 2)
SPARED = (0, 1, 2, 4, 8)
"""How many of the most sensitive layers stay float."""


class Space:
    """Optuna's parameters, and the move that each point of their space stands for."""

    def __init__(self, bench: Bench, layers: tuple[str, ...]) -> None:
        self._bench, self._layers = bench, layers
        self.distributions = self._possible()

    def move(self, parameters: dict[str, Any]) -> Move | None:
        """The move of a point; None where it is none, e.g. fewer layers than are to be spared."""
        steps: list[dict[str, Any]] = []
        share = parameters.get("filters", 0.0)
        if share:
            steps.append({"prune": {"structure": "Filter", "sparsity": share}})
            steps.append({"fineTune": {"epochs": parameters["epochs"], "learningRate": parameters["rate"]}})
        quantize = self._quantize(parameters)
        if quantize is None:
            return None
        recipe, device = self._bench.request.recipe, self._bench.request.target.device
        form = "SavedModel" if device == "GPU" or recipe.format == "SavedModel" else "TFLite"
        return move.of_steps([*steps, {"quantize": quantize}], form, recipe, device, parameters)  # type: ignore[arg-type]

    def parameters(self, name: str) -> dict[str, Any] | None:
        """The point of a move of the ladder; None where it has none."""
        for scheme in self._schemes():
            point = self._plain(scheme)
            found = self.move(point)
            if found is not None and found.name == name:
                return point
        return None

    def _possible(self) -> dict[str, BaseDistribution]:
        found: dict[str, BaseDistribution] = {}
        schemes = self._schemes()
        if len(schemes) > 1:
            found["scheme"] = CategoricalDistribution(schemes)
        if self._layers:
            found["spared"] = CategoricalDistribution([count for count in SPARED if count < len(self._layers)])
        if self._trains():
            found["filters"] = CategoricalDistribution(FILTERS)
            found["rate"] = CategoricalDistribution(RATES)
            found["epochs"] = CategoricalDistribution(EPOCHS)
        return found if found.keys() - {"scheme"} else {}

    def _plain(self, scheme: str) -> dict[str, Any]:
        usual = {"scheme": scheme, "spared": 0, "filters": 0.0, "rate": RATES[0], "epochs": EPOCHS[0]}
        return {name: usual[name] for name in self.distributions}

    def _quantize(self, parameters: dict[str, Any]) -> dict[str, Any] | None:
        scheme, spared = parameters.get("scheme", self._schemes()[0]), parameters.get("spared", 0)
        if spared >= max(1, len(self._layers)):
            return None
        layers = {"excludeLayers": list(self._layers[:spared])} if spared else {}
        return {"scheme": scheme, **layers}

    def _schemes(self) -> tuple[str, ...]:
        recipe, target = self._bench.request.recipe, self._bench.request.target
        if target.device == "GPU" or recipe.format == "SavedModel":
            return ("Float16",)
        return ("DynamicInt8", "StaticInt8") if self._bench.examples.calibration() is not None else ("DynamicInt8",)

    def _trains(self) -> bool:
        """Whether there are labelled rows to train on, and filters that this release can remove."""
        training = self._bench.examples.sets.get("training")
        if training is None or not training.rows.targets:
            return False
        steps = [{"prune": {"structure": "Filter", "sparsity": 0.5}}, {"fineTune": {}}]
        request = self._bench.request
        form = "SavedModel" if request.target.device == "GPU" else "TFLite"
        recipe = request.recipe.model_copy(update={"format": "Auto"})
        return move.of_steps(steps, form, recipe, request.target.device) is not None  # type: ignore[arg-type]


def of(bench: Bench) -> Space:
    """The space of a model and its data."""
    return Space(bench, ())
