"""Files that a model reads or writes: loading may read its own assets and checkpoint, nothing may touch any other.

Every function of a model is looked at, whoever may call it: Python's loader, its users, gradients and Grappler do where
no node of the graph shows it. Where the name of a file comes from is followed back, through variables and calls, to
where a loader puts the path of an asset or of the checkpoint (tensorflow/core/protobuf/meta_graph.proto, AssetFileDef;
saver.proto, filename_tensor_name; tensorflow/python/saved_model/load.py, bound inputs).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from modelpress.compress.sources import file_operations, reach

_VOCABULARY, _CHECKPOINT = 1, 0
"""The inputs that name the file."""
_FED = frozenset({"Const", "Placeholder", "PlaceholderWithDefault"})
"""What a loader can tell a path to: these have one output."""
_GIVEN = frozenset({"Placeholder", "PlaceholderV2"})
_SHAPED = frozenset({"Rank", "Shape", "ShapeN", "Size"})
"""What TensorFlow tells from shapes that it knows, without what they are shapes of."""
_WRITING = ("Assign", "ResourceScatter", "ResourceStridedSliceAssign")
"""How the names of operations begin that change a variable."""
_STRING = types_pb2.DT_STRING
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_ASSETS_OF_1 = "saved_model_assets"
"""The collection that has the assets of TensorFlow 1."""
_OF_FUNCTIONS = re.compile(r"(capture|trace)_\d+")
"""The children that TensorFlow gives functions; by other names they would be attributes of TensorFlow's own."""
_Place = tuple[str, str]
"""A scope (a function, or reach.GRAPH), and a node or argument there."""


def foreign(meta: Any) -> list[str]:
    """What reads or writes other files than the assets and the checkpoint of a MetaGraphDef, or may.

    Operations by their names, assets that lie outside, and what cannot be followed.
    """
    assets = _assets(meta)
    outside = {f"the asset {one.filename}" for one in assets if _leads_out(one.filename)}
    bent = {"an asset that is more than its path" for node in meta.object_graph_def.nodes if _is_bent(node)}
    return sorted(reach.unclear(meta) or outside | bent | _operations(meta, assets))


def _operations(meta: Any, assets: list[Any]) -> set[str]:
    """Loaders tell each path in one run alone: what fills a table runs while they initialise, and so on."""
    runs = (reach.answering(meta), reach.restoring(meta), reach.initialising(meta))
    answering, restoring, initialising = map(_keys, runs)
    unseen = _keys(reach.run_unseen(meta))
    saving, python = _keys(reach.saving(meta)), _keys(reach.run_by_python(meta))
    paths = {(reach.GRAPH, reach.node_of(one.tensor_info.name)) for one in assets} - answering - restoring
    checkpoint = {(reach.GRAPH, reach.node_of(meta.saver_def.filename_tensor_name))} - answering - initialising
    origins = _Origins(meta)

    def is_own(scope: str, node: Any) -> bool:
        key = (scope, node.name)
        if node.op in file_operations.FILLING:
            return key not in answering | restoring | unseen and origins.are(scope, node.input[_VOCABULARY], paths)
        if node.op in file_operations.RESTORING:
            elsewhere = answering | initialising | python | unseen
            return key not in elsewhere and origins.are(scope, node.input[_CHECKPOINT], checkpoint)
        if node.op in file_operations.SAVING:
            return key in saving - answering - initialising - restoring - python - unseen
        return not file_operations.of_choice(node)

    return _folded(meta) | {node.op for scope, node in reach.everything(meta, chain(*runs)) if not is_own(scope, node)}


def _folded(meta: Any) -> set[str]:
    """Operations that TensorFlow may run while it only imports the graph, whoever reaches them."""
    nodes = {node.name: node for node in meta.graph_def.node}
    found = (node for node in nodes.values() if file_operations.is_of_choice_and_folded(node))
    return {node.op for node in found if not _waits(node, nodes)}


def _waits(node: Any, nodes: Mapping[str, Any]) -> bool:
    """Whether a node needs what is only known when the graph runs: then no shape is told by it."""
    waiting, seen = [node], {node.name}
    while waiting:
        current = waiting.pop()
        if current.op in _SHAPED:
            continue
        if current.op in _GIVEN or file_operations.has_state(current):
            return True
        before = {reach.node_of(name) for name in current.input if not name.startswith("^")} & nodes.keys() - seen
        seen |= before
        waiting.extend(nodes[name] for name in before)
    return False


def _keys(placed: list[reach.Placed]) -> set[_Place]:
    return {(scope, str(node.name)) for scope, node in placed}


def _assets(meta: Any) -> list[Any]:
    """AssetFileDefs whose paths loaders tell (loader_impl.get_asset_tensors, and GetAssetFileDefs of servers)."""
    if meta.asset_file_def or _ASSETS_OF_1 not in meta.collection_def:
        return list(meta.asset_file_def)
    found = []
    for packed in meta.collection_def[_ASSETS_OF_1].any_list.value:
        asset = meta_graph_pb2.AssetFileDef()
        if packed.Unpack(asset):
            found.append(asset)
    return found


def _is_bent(node: Any) -> bool:
    """Whether a SavedObject is an asset that Python's loader makes another object of, or sets attributes of."""
    return node.HasField("asset") and bool(node.registered_name or node.children)


def _leads_out(filename: str) -> bool:
    path = PurePosixPath(filename)
    return path.is_absolute() or ".." in path.parts or "://" in filename


class _Origins:
    """Where tensors come from."""

    def __init__(self, meta: Any) -> None:
        functions = {function.signature.name: function for function in meta.graph_def.library.function}
        self._scopes = {
            reach.GRAPH: {node.name: node for node in meta.graph_def.node},
            **{name: {node.name: node for node in function.node_def} for name, function in functions.items()},
        }
        self._arguments = {
            name: [argument.name for argument in function.signature.input_arg] for name, function in functions.items()
        }
        self._captured = {
            name: list(one.bound_inputs) for name, one in meta.object_graph_def.concrete_functions.items()
        }
        self._assets = {place for place, node in enumerate(meta.object_graph_def.nodes) if node.HasField("asset")}
        self._called_otherwise = {*reach.functions_of_objects(meta.object_graph_def), *reach.unnamed_in_calls(meta)}
        self._bent = {
            name
            for node in meta.object_graph_def.nodes
            if any(_OF_FUNCTIONS.fullmatch(child.local_name) is None for child in node.children)
            for name in reach.functions_of(node)
        }
        self._assignments: list[tuple[str, Any]] = []
        self._calls: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for scope, nodes in self._scopes.items():
            for node in nodes.values():
                self._see(scope, node)

    def are(self, scope: str, tensor: str, told: Collection[_Place]) -> bool:
        """Whether all that a tensor may hold was put into one of the nodes that are `told` by a loader."""
        waiting, seen = [(scope, reach.node_of(tensor))], set[_Place]()
        while waiting:
            place = waiting.pop()
            if place in seen or (place in told and self._is_fed(place)):
                continue
            seen.add(place)
            before = self._before(place)
            if before is None:
                return False
            waiting.extend(before)
        return True

    def _is_fed(self, place: _Place) -> bool:
        node = self._scopes[place[0]].get(place[1])
        return node is not None and node.op in _FED

    def _see(self, scope: str, node: Any) -> None:
        if node.op.startswith(_WRITING) and _STRING in (node.attr["dtype"].type, node.attr["T"].type):
            self._assignments.append((scope, node))
        for name in set(reach.callees(node)) & self._arguments.keys():
            self._calls[name].append((scope, node))

    def _before(self, place: _Place) -> list[_Place] | None:
        """What a tensor is a copy of; None where it is no copy."""
        scope, name = place
        if name in self._arguments.get(scope, ()):
            position = self._arguments[scope].index(name)
            return self._callers(scope, position) if self._is_loaded(scope, position) else None
        node = self._scopes[scope].get(name)
        if node is None or node.op not in ("Identity", "ReadVariableOp"):
            return None
        first = (scope, reach.node_of(node.input[0]))
        return [first] if node.op == "Identity" else self._assigned(first)

    def _callers(self, function: str, position: int) -> list[_Place] | None:
        """What callers give as an argument; None where one gives it in a way that is not known."""
        calls = self._calls[function]
        if not all(_is_plain(node, function) and position < len(node.input) for _, node in calls):
            return None
        return [(scope, reach.node_of(node.input[position])) for scope, node in calls]

    def _is_loaded(self, function: str, position: int) -> bool:
        """Whether Python's loader, where it calls the function, gives an asset that was captured.

        What was not captured it takes from the checkpoint, or from the function's defaults. Attributes of a function
        may be what it captures.
        """
        bound = self._captured.get(function, [])
        place = position - (len(self._arguments[function]) - len(bound))
        if place < 0:
            return function not in self._called_otherwise
        is_clear = len(bound) <= len(self._arguments[function]) and function not in self._bent
        return is_clear and bound[place] in self._assets

    def _assigned(self, handle: _Place) -> list[_Place] | None:
        """What may be assigned to a variable; None where nothing is, or nobody knows which variable it is."""
        wanted, found = self._variables(handle), []
        if not wanted:
            return None
        for scope, node in self._assignments:
            others = self._variables((scope, reach.node_of(node.input[0])))
            if others is not None and not wanted & others:
                continue
            if node.op != "AssignVariableOp":
                return None
            found.append((scope, reach.node_of(node.input[1])))
        return found or None

    def _variables(self, handle: _Place) -> set[str] | None:
        """Names of the variables that a handle may be of; None where that is not known, as where Python gives it."""
        found, waiting, seen = set(), [handle], set[_Place]()
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            scope, name = place
            node = self._scopes[scope].get(name)
            before: list[_Place] | None = None
            if name in self._arguments.get(scope, ()):
                callers = self._callers(scope, self._arguments[scope].index(name))
                before = None if scope in self._called_otherwise else callers or None
            elif node is not None and node.op == "VarHandleOp" and node.attr["shared_name"].s:
                found.add(reach.variable(node))
                continue
            elif node is not None and node.op == "Identity":
                before = [(scope, reach.node_of(node.input[0]))]
            if before is None:
                return None
            waiting.extend(before)
        return found


def _is_plain(node: Any, function: str) -> bool:
    """Whether a call of a function gives its own inputs, in their order, to it."""
    names = list(reach.callees(node))
    return names.count(function) == 1 and (
        node.op == function or (node.op in _CALLS and node.attr["f"].func.name == function)
    )
