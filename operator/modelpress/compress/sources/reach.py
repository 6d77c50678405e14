"""What of a SavedModel a server, or Python's loader, runs: signatures, what initialises tables, what these call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tensorflow.core.framework import variable_pb2
from tensorflow.python.framework import op_def_registry

Placed = tuple[str, Any]
"""The function that a NodeDef belongs to, or GRAPH, and the NodeDef."""
GRAPH = ""
_INIT_SIGNATURE = "__saved_model_init_op"
"""Its output of the same name is what loaders run."""
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_DEFAULT_INIT_COLLECTIONS = ("table_initializer", "local_resources")
"""What Python's loader runs of a model that names nothing to initialise (Scaffold.default_local_init_op)."""
_SIGNATURES = "signatures"
"""The child of the root whose children are the signatures that Python's loader gives."""
_SWAPPED = "api_implements"
"""Attribute of functions that Grappler takes one for another (implementation_selector.cc)."""


def nodes(meta: Any) -> list[Any]:
    """The NodeDefs of a MetaGraphDef that a server, or a caller in Python, may run, those inside functions included."""
    starts = [*_answering(meta), *_initialising(meta)]
    return [node for _, node in _reached(meta, starts, _signatures_of_python(meta.object_graph_def))]


def answering(meta: Any) -> list[Placed]:
    """The NodeDefs that may run for a request."""
    starts = [*_answering(meta), *_initialising_for_a_request(meta)]
    return _reached(meta, starts, _signatures_of_python(meta.object_graph_def))


def restoring(meta: Any) -> list[Placed]:
    """The NodeDefs that loaders may run to give variables their values, while they tell the checkpoint's path."""
    handles = [node_of(one.variable_name) for one in _variable_definitions(meta, "variables")]
    return _reached(meta, _restored(meta) or handles)


def initialising(meta: Any) -> list[Placed]:
    """The NodeDefs that loaders may run to make and fill resources, while they tell the paths of assets."""
    return _reached(meta, [*_initialising(meta), *_initialising_by_default(meta)])


def saving(meta: Any) -> list[Placed]:
    """The NodeDefs that would save the variables, which no loader does."""
    return _reached(meta, [node_of(meta.saver_def.save_tensor_name)])


def run_by_python(meta: Any) -> list[Placed]:
    """The NodeDefs of functions that are attributes of objects, and of what these call.

    Python's loader calls those of resources and of savers, and whatever bears the name of a method of its own
    (tensorflow/python/saved_model/load.py); a user may call each.
    """
    return _reached(meta, [], functions_of_objects(meta.object_graph_def))


def run_unseen(meta: Any) -> list[Placed]:
    """The NodeDefs of functions that TensorFlow may run where no node names them, and of what these call."""
    return _reached(meta, [], unnamed_in_calls(meta))


def everything(meta: Any, reached: Iterable[Placed]) -> list[Placed]:
    """The NodeDefs of the graph among those `reached`, each once, and of all functions, whoever calls them."""
    found = {node.name: node for scope, node in reached if scope == GRAPH}
    inside = [
        (function.signature.name, node) for function in meta.graph_def.library.function for node in function.node_def
    ]
    return [*((GRAPH, node) for node in found.values()), *inside]


def never_restored(meta: Any) -> list[str]:
    """Names of the variables that signatures read, but that nothing gives a value when a server loads the model."""
    filled = _variables(_reached(meta, [*_restored(meta), *_initialising(meta)]))
    return sorted(_variables(_reached(meta, list(_answering(meta)))) - filled)


def unclear(meta: Any) -> list[str]:
    """What makes a graph no graph that could be followed by names; TensorFlow writes none such."""
    library = meta.graph_def.library.function
    functions = Counter(function.signature.name for function in library)
    found = {f"{functions[name]} functions {name!r}" for name in functions if functions[name] > 1 or not name}
    scopes = [(GRAPH, [node.name for node in meta.graph_def.node])]
    for function in library:
        arguments = [argument.name for argument in function.signature.input_arg]
        scopes.append((function.signature.name, [*arguments, *(node.name for node in function.node_def)]))
        given = (value for node in function.node_def for value in node.attr.values())
        if function.signature.attr or any(value.WhichOneof("value") == "placeholder" for value in given):
            found.add(f"the function {function.signature.name} with attributes of its callers")
    for scope, names in scopes:
        found.update(f"{count} nodes {name!r} {scope}".strip() for name, count in Counter(names).items() if count > 1)
        if "" in names:
            found.add(f"a node without a name {scope}".strip())
    return sorted(found)


def variable(handle: Any) -> str:
    """The name that a VarHandleOp shares with others of the same variable."""
    return handle.attr["shared_name"].s.decode(errors="backslashreplace") or str(handle.name)


def functions_of_objects(objects: Any) -> Iterator[str]:
    """Names of the functions that are objects of a SavedObjectGraph."""
    for node in objects.nodes:
        yield from functions_of(node)


def functions_of(node: Any) -> Iterator[str]:
    """Names of the functions that a SavedObject is."""
    yield from node.function.concrete_functions
    if node.HasField("bare_concrete_function"):
        yield node.bare_concrete_function.concrete_function_name


def unnamed_in_calls(meta: Any) -> set[str]:
    """Names of functions that are run as gradients of others, or in the place of others."""
    library = meta.graph_def.library
    return {
        *(one.gradient_func for one in library.gradient),
        *(one.gradient_func for one in library.registered_gradients),
        *(function.signature.name for function in library.function if _SWAPPED in function.attr),
    }


def callees(node: Any) -> Iterator[str]:
    """Names of the functions that a NodeDef may call, its operation among them."""
    yield node.op
    yield from _called(node.attr)


def node_of(tensor: str) -> str:
    """The node, or a function's argument, that a tensor or a control input is of."""
    return tensor.lstrip("^").split(":")[0]


def _called(attributes: Any) -> Iterator[str]:
    """Functions have attributes of their own, which may be functions."""
    for value in attributes.values():
        for function in [value.func] if value.HasField("func") else value.list.func:
            yield function.name
            yield from _called(function.attr)


def _variables(reached: list[Placed]) -> set[str]:
    return {variable(node) for _, node in reached if node.op == "VarHandleOp"}


def _reached(meta: Any, waiting: list[str], functions: Iterable[str] = ()) -> list[Placed]:
    """The NodeDefs that these nodes need, those inside functions included, and of these functions."""
    by_name = {node.name: node for node in meta.graph_def.node}
    library = {function.signature.name: function for function in meta.graph_def.library.function}
    found: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        if name not in found and name in by_name:
            found[name] = by_name[name]
            waiting.extend(node_of(one) for one in by_name[name].input)
    reached: list[Placed] = [(GRAPH, node) for node in found.values()]
    called = {name for name in functions if name in library}
    reached.extend((name, node) for name in sorted(called) for node in library[name].node_def)
    for _, node in reached:  # grows while it is read
        for name in callees(node):
            if name in library and name not in called:
                called.add(name)
                reached.extend((name, inner) for inner in library[name].node_def)
    return reached


def _restored(meta: Any) -> list[str]:
    """The node that restores the variables; Python's loader adds one for the variables where there is none."""
    return [node_of(meta.saver_def.restore_op_name)] if meta.saver_def.restore_op_name else []


def _answering(meta: Any) -> Iterator[str]:
    """Nodes of the outputs of all signatures that clients may call."""
    for name, signature in meta.signature_def.items():
        if name != _INIT_SIGNATURE:
            yield from _outputs(signature.outputs.values())


def _initialising(meta: Any) -> Iterator[str]:
    """Nodes that run once, when a server loads the model: of TensorFlow 2 and 1."""
    if _INIT_SIGNATURE in meta.signature_def:
        yield from _outputs(meta.signature_def[_INIT_SIGNATURE].outputs.values())
    for name in _INIT_COLLECTIONS:
        if name in meta.collection_def:
            yield from map(node_of, meta.collection_def[name].node_list.value)


def _initialising_for_a_request(meta: Any) -> list[str]:
    """Nodes of the signature that initialises which a client could ask for: all but one that has no outputs."""
    if _INIT_SIGNATURE not in meta.signature_def:
        return []
    given = {node.name for node in meta.graph_def.node if _gives_something(node)}
    outputs = meta.signature_def[_INIT_SIGNATURE].outputs
    others = list(_outputs(info for key, info in outputs.items() if key != _INIT_SIGNATURE))
    loaded = _outputs(info for key, info in outputs.items() if key == _INIT_SIGNATURE)
    return [*others, *(name for name in loaded if name in given)]


def _gives_something(node: Any) -> bool:
    definition = op_def_registry.get(node.op)
    return definition is None or bool(definition.output_arg)


def _initialising_by_default(meta: Any) -> Iterator[str]:
    for name in _DEFAULT_INIT_COLLECTIONS:
        if name in meta.collection_def:
            yield from map(node_of, meta.collection_def[name].node_list.value)
    for definition in _variable_definitions(meta, "local_variables"):
        yield node_of(definition.initializer_name)


def _variable_definitions(meta: Any, collection: str) -> Iterator[Any]:
    if collection in meta.collection_def:
        for content in meta.collection_def[collection].bytes_list.value:
            yield variable_pb2.VariableDef.FromString(content)


def _signatures_of_python(objects: Any) -> Iterator[str]:
    """What `loaded.signatures` holds: functions of their own, whatever the graph has under the same names."""
    roots = [child.node_id for child in _children(objects, 0) if child.local_name == _SIGNATURES]
    for place in roots:
        for child in _children(objects, place):
            for node in objects.nodes[child.node_id : child.node_id + 1]:
                yield from functions_of(node)


def _children(objects: Any, place: int) -> list[Any]:
    return list(objects.nodes[place].children) if place < len(objects.nodes) else []


def _outputs(infos: Iterable[Any]) -> Iterator[str]:
    for info in infos:
        sparse = info.coo_sparse
        for name in (
            info.name,
            sparse.values_tensor_name,
            sparse.indices_tensor_name,
            sparse.dense_shape_tensor_name,
        ):
            yield node_of(name)
        yield from _outputs(info.composite_tensor.components)
