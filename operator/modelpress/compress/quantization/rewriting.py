"""A float32 flatbuffer with the precisions of an assignment; float32 in and out, names and signatures as they were."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer.model_modifier import ModelModifier
from ai_edge_quantizer.params_generator import ParamsGenerator
from ai_edge_quantizer.utils import tfl_flatbuffer_utils

from modelpress.compress import flatbuffer
from modelpress.compress.quantization import precision
from modelpress.compress.quantization.precision import Assignment
from modelpress.compress.quantization.ranges import Statistics
from modelpress.compress.tflite import NotConvertible

_OPERATORS = schema.BuiltinOperator
_SOMETHING: dict[str, dict[str, Any]] = {"": {}}
"""The quantizer takes no statistics at all for forgotten ones."""


def quantize(content: bytes, assignment: Assignment, statistics: Statistics) -> bytes:
    """The flatbuffer, quantized. Raises NotConvertible `NotQuantizable`.

    `statistics` are of all its activations where the assignment needs ranges, else of its tables.
    """
    if assignment.base == "Float32" and not assignment.exceptions:
        return content
    with _quiet():
        original = tfl_flatbuffer_utils.read_model(memoryview(content))
        try:
            parameters = ParamsGenerator(original).generate_quantization_parameters(
                precision.recipe(assignment), {**_SOMETHING, **statistics}, enable_progress_bar=False
            )
            rewritten = ModelModifier(original).modify_model(parameters, enable_progress_bar=False)
        except (RuntimeError, ValueError, KeyError, IndexError, NotImplementedError) as error:
            raise NotConvertible("NotQuantizable", f"{assignment.base}: {_first_line(error)}") from error
    model = flatbuffer.parsed(bytes(rewritten))
    for subgraph in model.subgraphs:
        _give_out_floats(model, subgraph)
        _take_shapes_of_integers(model, subgraph)
        _keep_dynamic_shapes(model, subgraph)
    flatbuffer.redescribe(model, content)
    return flatbuffer.written(model)


def _give_out_floats(model: Any, subgraph: Any) -> None:
    """Outputs that the model goes on with in int8 are given out as they were before they became integers."""
    floats = {
        int(one.outputs[0]): int(one.inputs[0])
        for one in subgraph.operators
        if model.operatorCodes[one.opcodeIndex].builtinCode == _OPERATORS.QUANTIZE
    }
    subgraph.outputs = [floats.get(int(index), int(index)) for index in subgraph.outputs]


def _take_shapes_of_integers(model: Any, subgraph: Any) -> None:
    """Lets SHAPE look at the integers that a DEQUANTIZE would turn into numbers for nobody else."""
    kind = {id(one): model.operatorCodes[one.opcodeIndex].builtinCode for one in subgraph.operators}
    integers = {
        int(one.outputs[0]): int(one.inputs[0]) for one in subgraph.operators if kind[id(one)] == _OPERATORS.DEQUANTIZE
    }
    for one in subgraph.operators:
        if kind[id(one)] == _OPERATORS.SHAPE and int(one.inputs[0]) in integers:
            one.inputs = [integers[int(one.inputs[0])]]
    used = Counter(int(index) for one in subgraph.operators for index in one.inputs)
    used.update(int(index) for index in subgraph.outputs)
    subgraph.operators = [
        one for one in subgraph.operators if kind[id(one)] != _OPERATORS.DEQUANTIZE or used[int(one.outputs[0])]
    ]


def _keep_dynamic_shapes(model: Any, subgraph: Any) -> None:
    """Gives tensors between types the unknown sizes of what they come from, which the quantizer forgets."""
    between = {_OPERATORS.QUANTIZE, _OPERATORS.DEQUANTIZE}
    for one in subgraph.operators:
        if model.operatorCodes[one.opcodeIndex].builtinCode in between:
            given, made = subgraph.tensors[one.inputs[0]], subgraph.tensors[one.outputs[0]]
            if made.shapeSignature is None:
                made.shapeSignature = given.shapeSignature


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the quantizer's remarks on its own rules from the user."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
