"""Shapes of what tables of strings give, which TensorFlow's converter leaves out of a flatbuffer.

An interpreter takes such tensors for single numbers until an input is resized for the first time, so that a shape that
the graph computes from them is wrong, and the first requests of one row fail ("num_input_elements !=
num_output_elements" of a RESHAPE). What a table gives has the shape of its keys, and arithmetic keeps it.
"""

from __future__ import annotations

from typing import Any

from modelpress.compress import flatbuffer

_FIND, _KEYS = "HASHTABLE_FIND", 1
_ARITHMETIC = frozenset(
    {"ADD", "SUB", "MUL", "MINIMUM", "MAXIMUM", "CAST", "SELECT_V2", "EQUAL", "NOT_EQUAL"}
    | {"LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"}
)


def describe(model: Any) -> None:
    """Gives a parsed flatbuffer the shapes of what its tables give, as far as arithmetic goes."""
    tensors, names = model.subgraphs[0].tensors, flatbuffer.operation_names(model)
    found: set[int] = set()
    for operator in model.subgraphs[0].operators:
        name = names[operator.opcodeIndex]
        if name == _FIND:
            sized = [tensors[operator.inputs[_KEYS]]]
        elif name in _ARITHMETIC and found.intersection(operator.inputs):
            sized = [tensors[index] for index in operator.inputs if _rank(tensors[index]) or not tensors[index].hasRank]
        else:
            continue
        if len({_sizes(tensor) for tensor in sized}) != 1 or _rank(sized[0]) == 0:
            continue  # one may widen the other, which is left to the interpreter
        for output in operator.outputs:
            if _rank(tensors[output]) == 0:
                _give(tensors[output], sized[0])
                found.add(output)


def _rank(tensor: Any) -> int:
    return 0 if tensor.shape is None else len(tensor.shape)


def _sizes(tensor: Any) -> tuple[int, ...]:
    """Open ones are -1."""
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return () if signature is None else tuple(int(size) for size in signature)


def _give(tensor: Any, like: Any) -> None:
    tensor.shape, tensor.shapeSignature, tensor.hasRank = like.shape, like.shapeSignature, True
