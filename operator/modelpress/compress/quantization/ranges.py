"""Ranges of the tensors of a float32 flatbuffer: of activations measured on examples, of looked-up tables known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import calibrator
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils import qsv_utils, tfl_flatbuffer_utils

from modelpress.compress.dataset import Array

Statistics = Mapping[str, dict[str, Any]]
"""Tensor -> `min` and `max`, arrays of one value."""
Update = Literal["MinMax", "MovingAverage"]
UPDATES: tuple[Update, ...] = ("MinMax", "MovingAverage")
"""How ranges of batches become one. MinMax clips nothing; MovingAverage (0.95 of the old) forgets outliers."""


@dataclass(frozen=True)
class Ranges:
    """What is known about the values of tensors."""

    by_update: Mapping[Update, Statistics]

    def of(self, update: Update) -> Statistics:
        """The ranges that one way of joining batches gives."""
        return self.by_update[update]


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
                found[name] = {"min": np.array([values.min()]), "max": np.array([values.max()])}
    return found


def _both(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    joined = qsv_utils.moving_average_update(old, new)
    joined["lowest"] = np.minimum(old.get("lowest", old["min"]), new["min"])
    joined["highest"] = np.maximum(old.get("highest", old["max"]), new["max"])
    return dict(joined)
