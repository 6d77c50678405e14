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
            sized = [operator.inputs[_KEYS]]
        elif name in _ARITHMETIC:
            sized = [index for index in operator.inputs if _rank(tensors[index])]
        else:
            continue
        # What another operand may widen is left to the interpreter.
        if name != _FIND and (not sized or not found.issuperset(sized)):
            continue
        for output in operator.outputs:
            if _rank(tensors[output]) == 0:
                _give(tensors[output], max((tensors[index] for index in sized), key=_rank))
                found.add(output)


def _rank(tensor: Any) -> int:
    return 0 if tensor.shape is None else len(tensor.shape)


def _give(tensor: Any, like: Any) -> None:
    tensor.shape, tensor.shapeSignature, tensor.hasRank = like.shape, like.shapeSignature, True
