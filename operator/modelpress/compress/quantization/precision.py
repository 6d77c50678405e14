"""Which precision each operation gets, as the recipe that ai-edge-quantizer applies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.recipe_manager import RecipeManager

Precision = Literal["Float32", "Float16", "DynamicInt8", "StaticInt8", "DynamicInt4"]
"""DynamicInt4 has int4 weights where kernels for them exist, else int8; both measure activations at run time."""
Rounding = Literal["MinMax", "Octav"]
"""How the range of weights is found: all of it, or clipped where the squared error is least (OCTAV, Sakr 2022)."""

_OPERATION = qtyping.TFLOperationName
_ALL = _OPERATION.ALL_SUPPORTED
_GRANULARITY = {True: qtyping.QuantGranularity.CHANNELWISE, False: qtyping.QuantGranularity.TENSORWISE}
_ALGORITHM = {"MinMax": AlgorithmName.MIN_MAX_UNIFORM_QUANT, "Octav": AlgorithmName.OCTAV}
_INTEGER = qtyping.ComputePrecision.INTEGER
_WITHOUT_KERNEL = (_OPERATION.SQRT,)
"""Operations that the quantizer makes integers of, though TensorFlow 2.20 has no int8 kernel for them."""
_EVERYTHING = ".*"
_EVERYTHING_ELSE_FIRST = "^.*"
"""The same scope under another spelling: of rules for one spelling only the last is kept."""


@dataclass(frozen=True)
class Assignment:
    """A precision for all operations, and others for some."""

    base: Precision
    exceptions: Mapping[str, Precision] = field(default_factory=dict)
    """Scope of an operation -> its precision."""
    per_channel: bool = True
    symmetric_activations: bool = False
    rounding: Rounding = "MinMax"
    """Of int4 weights; for int8 clipping gains nothing."""
    on_grid: frozenset[str] = frozenset()
    """Scopes among the exceptions whose weights are whole steps already, so that nothing is clipped."""

    @property
    def needs_ranges(self) -> bool:
        """Whether activations are quantized with ranges that were measured before."""
        return "StaticInt8" in (self.base, *self.exceptions.values())

    def but(self, exceptions: Mapping[str, Precision]) -> Assignment:
        """The same with more exceptions."""
        return Assignment(
            self.base,
            {**self.exceptions, **exceptions},
            self.per_channel,
            self.symmetric_activations,
            self.rounding,
            self.on_grid,
        )


def recipe(assignment: Assignment) -> RecipeManager:
    """Rules in which the later wins; an operation that a rule cannot hold stays with the rule before."""
    manager = RecipeManager()
    _add(manager, _EVERYTHING, assignment.base, assignment)
    for scope, precision in assignment.exceptions.items():
        chosen = replace(assignment, rounding="MinMax") if scope in assignment.on_grid else assignment
        _add(manager, f"^{re.escape(scope)}$", precision, chosen)
    for boundary in (_OPERATION.INPUT, _OPERATION.OUTPUT):
        manager.add_quantization_config("^(?:.*)$", boundary, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return manager


def _add(manager: RecipeManager, scope: str, precision: Precision, assignment: Assignment) -> None:
    granularity = _GRANULARITY[assignment.per_channel]
    algorithm = _ALGORITHM[assignment.rounding]
    if precision == "Float32":
        manager.add_quantization_config(scope, _ALL, algorithm_key=AlgorithmName.NO_QUANTIZE)
    elif precision == "Float16":
        manager.add_weight_only_config(scope, _ALL, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)
    elif precision == "StaticInt8":
        manager.add_quantization_config(scope, _ALL, _static(granularity, assignment.symmetric_activations))
        for operation in _WITHOUT_KERNEL:
            manager.add_quantization_config(scope, operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    else:
        manager.add_dynamic_config(scope, _ALL, 8, granularity)
        # Tables that are looked up have no dynamic kernel: without this rule they stay float32.
        manager.add_quantization_config(scope, _OPERATION.GATHER, _static(granularity, symmetric=False))
        if precision == "DynamicInt4":
            again = _EVERYTHING_ELSE_FIRST if scope == _EVERYTHING else f"(?:{scope})"
            manager.add_dynamic_config(again, _ALL, 4, granularity, algorithm)


def _static(granularity: qtyping.QuantGranularity, symmetric: bool) -> qtyping.OpQuantizationConfig:
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(num_bits=8, symmetric=symmetric),
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=8, symmetric=True, granularity=granularity),
        compute_precision=_INTEGER,
        explicit_dequantize=False,
    )
