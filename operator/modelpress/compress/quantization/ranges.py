"""Ranges of the tensors of a float32 flatbuffer: of activations measured on examples, of looked-up tables known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import calibrator
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils import qsv_utils, tfl_flatbuffer_utils

from modelpress.compress.dataset import Array
from modelpress.compress.quantization import layers

Statistics = Mapping[str, dict[str, Any]]
"""Tensor -> `min` and `max`, arrays of one value."""
Update = Literal["MinMax", "MovingAverage", "Trained"]
UPDATES: tuple[Update, ...] = ("MinMax", "MovingAverage")
"""How ranges of batches become one. MinMax clips nothing; MovingAverage (0.95 of the old) forgets outliers.

Trained ranges are those of a training that rounded activations; tensors that it did not know are as in MinMax.
"""


@dataclass(frozen=True)
class Ranges:
    """What is known about the values of tensors."""

    by_update: Mapping[Update, Statistics]

    def of(self, update: Update) -> Statistics:
        """The ranges that one way of joining batches gives."""
        return self.by_update[update]

    def with_learnt(self, learnt: Mapping[str, tuple[float, float]]) -> Ranges:
        """With what nodes of the frozen graph were trained within, where one tensor is known by the node.

        Tensors of a flatbuffer have the names of all nodes that were fused into them, and some have lost theirs.
        """
        by_part = {layers.without_calls(node): ends for node, ends in learnt.items()}
        parts = {name: [part for part in name.split(";") if part in by_part] for name in self.by_update["MinMax"]}
        times = Counter(part for found in parts.values() for part in found)
        known = {name: found[0] for name, found in parts.items() if len(found) == 1 and times[found[0]] == 1}
        trained = {name: _statistics(*by_part[part]) for name, part in known.items()}
        return Ranges({**self.by_update, "Trained": {**self.of("MinMax"), **trained}}) if trained else self


def measured(content: bytes, signature: str, batches: Iterable[Mapping[str, Array]]) -> Ranges:
    """Runs the flatbuffer on batches of a signature's inputs, one thread, and joins ranges both ways in one pass."""
    found = calibrator.Calibrator(
        content,
        num_threads=1,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=_both,
    )
    for batch in batches:
        # `calibrate` does the same below a progress bar of its own.
        found._calibrate_step(signature, dict(batch), RecipeManager(), False, None)
    statistics = found.get_model_qsvs()
    tables = of_tables(content)
    moving = {name: {"min": one["min"], "max": one["max"]} for name, one in statistics.items()}
    widest = {
        name: {"min": one.get("lowest", one["min"]), "max": one.get("highest", one["max"])}
        for name, one in statistics.items()
    }
    return Ranges({"MinMax": {**widest, **tables}, "MovingAverage": {**moving, **tables}})


def of_tables(content: bytes) -> dict[str, dict[str, Any]]:
    """Ranges of what is looked up in constant tables, which need no examples: those of the table."""
    parsed = tfl_flatbuffer_utils.read_model(content)
    found: dict[str, dict[str, Any]] = {}
    for subgraph in parsed.subgraphs:
        for operator in subgraph.operators:
            if parsed.operatorCodes[operator.opcodeIndex].builtinCode != schema.BuiltinOperator.GATHER:
                continue
            table = subgraph.tensors[operator.inputs[0]]
            data = parsed.buffers[table.buffer].data
            if table.type == schema.TensorType.FLOAT32 and data is not None and len(data):
                values = np.frombuffer(bytes(data), np.float32)
                name = tfl_flatbuffer_utils.get_tensor_name(subgraph.tensors[operator.outputs[0]])
                found[name] = _statistics(values.min(), values.max())
    return found


def _statistics(low: float, high: float) -> dict[str, Any]:
    return {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}


def _both(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    joined = qsv_utils.moving_average_update(old, new)
    joined["lowest"] = np.minimum(old.get("lowest", old["min"]), new["min"])
    joined["highest"] = np.maximum(old.get("highest", old["max"]), new["max"])
    return dict(joined)
