"""A SavedModel whose variables only Python's loader restores, saved anew so that servers restore them too.

`tf.saved_model.save` writes models of Keras 3 so: copies of the variables are restored, the signatures read others.
Loading such a model in Python and saving its signatures mends it. The result takes the place of what was found only
where it is proved to be the same model: the same operations over the same constants, and a session, as TensorFlow
Serving starts one, that holds the same variables and gives the same answers.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.compress import graph, model
from modelpress.compress.graph import NotFreezable
from modelpress.compress.model import OpenedModel
from modelpress.compress.rows import Array
from modelpress.compress.signature import STRING, Tensor
from modelpress.compress.sources import reach, settling
from modelpress.storage import listing

_ROWS = 2
_CLOSE = {"rtol": 1e-5, "atol": 1e-6}
"""A session may fuse operations that run one by one in Python."""


def resaved(directory: Path) -> bool:
    """Saves the SavedModel in `directory` anew where that is needed and proved to change nothing; whether it was."""
    if not reach.never_restored(model.meta_graph(directory)):
        return False
    scratch = directory.with_name(f"{directory.name}-resaved")
    try:
        found = _saved(directory, scratch)
        if found is None:
            return False
        for inside in sorted(directory.iterdir()):
            if inside.name != listing.EXTRA:
                shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
        for inside in sorted(scratch.iterdir()):
            inside.rename(directory / inside.name)
        return True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _saved(directory: Path, new: Path) -> Path | None:
    declared = model.signatures(directory)
    names = tuple(name for name, one in declared.items() if one.inputs and one.outputs)
    if not names:
        return None
    old = OpenedModel(directory, names)
    with model.quiet():
        tf.saved_model.save(old.loaded, str(new), signatures={name: old.function(name) for name in names})
    settling.settle(new)
    is_same = (
        not reach.never_restored(model.meta_graph(new))
        and model.signatures(new) == {name: declared[name] for name in names}
        and _computes_the_same(old, OpenedModel(new, names))
        and _serves_the_same(old, new)
    )
    return new if is_same else None


def _computes_the_same(old: OpenedModel, new: OpenedModel) -> bool:
    try:
        first, second = (_unnamed(graph.freeze(one).graph) for one in (old, new))
    except NotFreezable:
        return False
    return first == second


def _unnamed(frozen: Any) -> bytes:
    """The graph with its nodes numbered: calls of calls leave longer names."""
    copy = type(frozen)()
    copy.CopyFrom(frozen)
    numbers = {node.name: f"n{place}" for place, node in enumerate(copy.node)}
    for node in copy.node:
        node.name = numbers[node.name]
        node.input[:] = [":".join([numbers[name], *rest]) for name, *rest in (one.split(":") for one in node.input)]
    return bytes(copy.SerializeToString(deterministic=True))


def _serves_the_same(old: OpenedModel, directory: Path) -> bool:
    """Whether a session that restores the new model holds the old one's variables and answers as it does."""
    values = _counted(variable.numpy() for variable in old.variables())
    answered = {name: _answered(old, name) for name in old.signatures}
    meta = model.meta_graph(directory)
    with tf.Graph().as_default() as restored, tf.compat.v1.Session() as session, model.quiet():
        tf.compat.v1.saved_model.load(session, ["serve"], str(directory))
        reads = [
            tf.raw_ops.ReadVariableOp(
                resource=restored.get_tensor_by_name(f"{node.name}:0"), dtype=node.attr["dtype"].type
            )
            for node in meta.graph_def.node
            if node.op == "VarHandleOp"
        ]
        if values - _counted(session.run(reads)):
            return False
        return all(_gives(session, meta.signature_def[name], *one) for name, one in answered.items() if one)


def _counted(arrays: Iterable[Any]) -> Counter[tuple[str, tuple[int, ...], bytes]]:
    found = [np.asarray(array) for array in arrays]
    return Counter((one.dtype.str, one.shape, one.tobytes()) for one in found)


def _answered(old: OpenedModel, name: str) -> tuple[dict[str, Array], dict[str, Array]] | None:
    """Rows of a signature and what it answers; None where it does not run on rows that nobody has chosen."""
    rows = {key: _made(tensor) for key, tensor in old.signatures[name].inputs.items()}
    try:
        return rows, old.call(name, rows)
    except Exception:  # a kernel raises whatever it raises
        return None


def _gives(session: Any, definition: Any, rows: dict[str, Array], expected: dict[str, Array]) -> bool:
    fed = {definition.inputs[key].name: value for key, value in rows.items()}
    found = session.run({key: info.name for key, info in definition.outputs.items()}, fed)
    return all(
        np.allclose(found[key], one, **_CLOSE, equal_nan=True)
        if one.dtype.kind in "fc"
        else np.array_equal(found[key], one)
        for key, one in expected.items()
    )


def _made(tensor: Tensor) -> Array:
    """Numbers for floats, small ids for integers."""
    shape = tuple(size or _ROWS for size in tensor.shape or ())
    if tensor.dtype == STRING:
        return np.full(shape, b"", dtype=object)
    drawn = np.random.default_rng(0).normal(size=shape)
    return (drawn if tensor.is_float else np.abs(drawn)).astype(tf.as_dtype(tensor.dtype).as_numpy_dtype)
