"""Which variables a graph computes with as kernels or tables, told by the operations that they reach. Pure.

A slope (PReLU), a factor or an offset meets what a request brings place by place, whatever its rank. A kernel meets it
in a product, a table in a look-up. On the way there both may be cast, reshaped or scaled by other variables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

_PLACE_BY_PLACE = frozenset(
    {
        *("Add", "AddN", "AddV2", "BiasAdd", "Sub", "Mul", "MulNoNan", "Div", "DivNoNan", "RealDiv"),
        *("Maximum", "Minimum", "Pow", "SquaredDifference", "Select", "SelectV2", "ClipByValue"),
        *("Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual"),
        *("Concat", "ConcatV2", "Pack", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
    }
)
"""Operations after which what a request brought goes on, changed by weights or beside them."""
_SUMS = frozenset({"Sum", "Mean", "Max", "Min", "Prod"})
"""After a multiplication place by place they make a product of it."""
_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank"})
_LOOPS = frozenset({"While", "StatelessWhile"})
_BACK = frozenset({"NextIteration", "RefNextIteration"})
"""How a loop of TensorFlow 1 goes back to its start."""


class _Value(NamedTuple):
    """What a node gives."""

    moves: bool = False
    """Whether it depends on what a request brings."""
    made_of: frozenset[int] = frozenset()
    """Variables that it holds the numbers of; none once it moves."""
    factors: frozenset[int] = frozenset()
    """Variables that what moves was just multiplied by, place by place."""


_MOVING = _Value(moves=True)
_FIXED = _Value()


def found(graph: Any, feeds: Collection[str], variables: Mapping[str, int]) -> frozenset[int]:
    """The variables that are kernels or tables. `feeds`: placeholders that requests fill.

    `variables`: placeholder -> number of the variable. What an unknown operation computes with counts as a kernel.
    """
    reading = _Reading(graph)
    given = {name: _Value(made_of=frozenset({number})) for name, number in variables.items()}
    reading.read(graph.node, given | dict.fromkeys(feeds, _MOVING))
    return frozenset(reading.kernels)


class _Reading:
    """Follows variables through a graph and the functions that it calls."""

    def __init__(self, graph: Any) -> None:
        self.kernels: set[int] = set()
        self._functions = {function.signature.name: function for function in graph.library.function}
        self._called: dict[tuple[str, tuple[_Value, ...]], tuple[_Value, ...]] = {}

    def read(self, nodes: Sequence[Any], given: Mapping[str, _Value]) -> dict[str, _Value]:
        """What every node gives, `given` included."""
        values = dict(given)
        by_name = {node.name: node for node in nodes}
        order = TopologicalSorter({node.name: _before(node) for node in nodes}).static_order()
        for name in order:
            if name in by_name and name not in values:
                values[name] = self._given_by(by_name[name], values)
        return values

    def _given_by(self, node: Any, values: Mapping[str, _Value]) -> _Value:
        inputs = [values.get(name, _FIXED) for name in map(_source, _data(node))]
        names = [name for name in (node.op, *_functions(node)) if self._takes(name, len(inputs))]
        if node.op in _BACK:
            return _MOVING
        if node.op in _SHAPES:
            return _FIXED
        if node.op in _LOOPS:
            return _joined([value for name in names for value in self._answers(name, self._turning(names, inputs))])
        if names:
            return self._together([value for name in names for value in self._answers(name, inputs)])
        if node.op in _SUMS:
            self.kernels.update(*(value.factors for value in inputs))
        if node.op == "Mul" and any(value.moves for value in inputs):
            return _Value(moves=True, factors=frozenset().union(*(value.made_of for value in inputs)))
        return _joined(inputs) if node.op in _PLACE_BY_PLACE else self._together(inputs)

    def _turning(self, names: Sequence[str], inputs: Sequence[_Value]) -> list[_Value]:
        """As a loop has them once it turns: what a turn makes move, such as a state that begins as a weight, moves."""
        found, before = list(inputs), -1
        while before != (before := sum(value.moves for value in found)):
            for answers in (self._answers(name, found) for name in names):
                if len(answers) == len(found):  # a body's; a condition gives one
                    found = [_MOVING if after.moves else value for value, after in zip(found, answers, strict=True)]
        return found

    def _takes(self, name: str, count: int) -> bool:
        return name in self._functions and len(self._functions[name].signature.input_arg) <= count

    def _answers(self, name: str, inputs: Sequence[_Value]) -> tuple[_Value, ...]:
        """What a function gives for the last of these inputs; branches are chosen by what is before them."""
        function = self._functions[name]
        wanted = [arg.name for arg in function.signature.input_arg]
        taken = tuple(inputs[len(inputs) - len(wanted) :])
        if (name, taken) not in self._called:
            values = self.read(function.node_def, dict(zip(wanted, taken, strict=True)))
            self._called[name, taken] = tuple(
                values[_source(function.ret[arg.name])] for arg in function.signature.output_arg
            )
        return self._called[name, taken]

    def _together(self, inputs: Sequence[_Value]) -> _Value:
        """Of an operation that multiplies, looks up, or is not known."""
        joined = _joined(inputs)
        if joined.moves or sum(bool(value.made_of) for value in inputs) > 1:
            self.kernels.update(*(value.made_of for value in inputs))
        return inputs[0] if len(inputs) == 1 else joined


def _joined(values: Sequence[_Value]) -> _Value:
    if any(value.moves for value in values):
        return _MOVING
    return _Value(made_of=frozenset().union(*(value.made_of for value in values)))


def _functions(node: Any) -> list[str]:
    found = []
    for value in node.attr.values():
        called = [value.func] if value.HasField("func") else value.list.func
        found += [one.name for one in called if one.name]
    return found


def _before(node: Any) -> list[str]:
    return [] if node.op in _BACK else [_source(name) for name in _data(node)]


def _data(node: Any) -> list[str]:
    return [name for name in node.input if not name.startswith("^")]


def _source(tensor: str) -> str:
    return tensor.partition(":")[0]
