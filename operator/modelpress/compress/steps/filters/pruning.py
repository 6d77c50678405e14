"""The step `prune: {structure: Filter}`: analyse, choose, rebuild smaller, compare, make weights variables again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Prune
from modelpress.compress import graph, lifting
from modelpress.compress.dataset import Array
from modelpress.compress.evaluation import examples as unlabelled
from modelpress.compress.graph import FrozenGraph
from modelpress.compress.model import OpenedModel
from modelpress.compress.signature import Signature
from modelpress.compress.steps.filters import groups, importance, rebuild
from modelpress.compress.steps.filters.channels import Channels, Shapes
from modelpress.compress.steps.filters.groups import Group
from modelpress.compress.steps.step import Changed, Setting

TOLERANCE = 1e-5
"""Between the rebuilt network and the old one with the same channels silenced, relative to the largest output."""
_CHECKED_ROWS = 4
_UNKNOWN_SIZE = 8
_SHOWN = 3


def apply(opened: OpenedModel, step: Prune, setting: Setting) -> Changed:
    """Writes the smaller model to `setting.replacement`.

    Raises Invalid `StepCannotApply`, `UnknownLayer`, `DataRequired`.
    """
    try:
        frozen = graph.freeze(opened, merge_weights=False)
    except graph.NotFreezable as error:
        raise _refused(f"filters are removed from a graph of constants, but {error}", setting.field) from error
    with setting.progress.step("Removing filters"):
        trainable = _trainable(opened, frozen)
        channels = groups.analysed(frozen)
        groups.exclude(channels, list(trainable), step.exclude_layers, setting.field)
        found = groups.groups(channels)
        if not found:
            raise _refused(_nothing(channels), setting.field)
        gone, note = _chosen(channels, found, _values(frozen, found), step)
        smaller = FrozenGraph(rebuild.without(frozen.graph, channels, gone), frozen.signatures)
        difference = _difference(opened, frozen, smaller, channels, gone, setting)
        if difference is not None:
            raise _refused(difference, setting.field)
        lifting.write(smaller, trainable, setting.replacement)
    sizes = [_parameters(one.graph) for one in (frozen, smaller)]
    share = 1 - sizes[1] / sizes[0]
    return Changed(f"prune: {note}; {sizes[0]:,} parameters became {sizes[1]:,} ({share:.1%} less)", replaced=True)


def _trainable(opened: OpenedModel, frozen: FrozenGraph) -> dict[str, bool]:
    """Constants that become variables again -> whether they are trained."""
    known = {variable.name.split(":")[0]: bool(variable.trainable) for variable in opened.variables()}
    found = {}
    for node in frozen.graph.node:
        name = node.name if node.name in known else re.sub(r"_\d+$", "", node.name)
        if node.op == "Const" and name in known:
            found[node.name] = known[name]
    return found or lifting.weights(frozen.graph)


def _values(frozen: FrozenGraph, found: list[Group]) -> dict[str, Array]:
    wanted = {weights.name for group in found for weights in group.weights}
    return {
        node.name: tf.make_ndarray(node.attr["value"].tensor).astype(np.float32)
        for node in frozen.graph.node
        if node.name in wanted
    }


def _chosen(channels: Channels, found: list[Group], values: Mapping[str, Array], step: Prune) -> tuple[Array, str]:
    """For each label whether its atom goes, and what to tell people."""
    scores = [importance.scores(step.criterion, channels.atoms, group, values) for group in found]
    removed = importance.least(step.criterion, found, scores, step.sparsity or 0)
    gone = np.zeros(len(channels.atoms), bool)
    gone[np.concatenate(removed)] = True
    total = sum(len(group.atoms) for group in found)
    note = f"{int(gone.sum()):,} of {total:,} filters in {len(found)} groups went"
    kept = groups.kept(channels)
    if kept:
        shown = [f"{name} ({why})" for name, why in sorted(kept.items())[:_SHOWN]]
        more = f" and {len(kept) - _SHOWN} more" if len(kept) > _SHOWN else ""
        note += f"; left whole: {', '.join(shown)}{more}"
    return gone, note


def _nothing(channels: Channels) -> str:
    kept = groups.kept(channels)
    shown = ", ".join(f"{name} ({why})" for name, why in sorted(kept.items())[:_SHOWN])
    return f"no filter can be removed without changing the meaning of the rest: {shown or 'the graph has no kernels'}"


def _difference(
    opened: OpenedModel,
    frozen: FrozenGraph,
    smaller: FrozenGraph,
    channels: Channels,
    gone: Array,
    setting: Setting,
) -> str | None:
    """What the rebuilt graph does differently from the old one with the same channels silenced; None: nothing."""
    try:
        shapes = Shapes(smaller.graph)
    except ValueError as error:
        return f"the rebuilt graph does not fit together ({str(error).splitlines()[0][:300]})"
    misfit = rebuild.fits(shapes, frozen.graph, channels, gone)
    if misfit is not None:
        return f"the rebuilt graph has another shape than it should at {misfit}"
    silenced = rebuild.silenced(frozen.graph, Shapes(frozen.graph), channels, gone)
    for name, signature in opened.signatures.items():
        definition = frozen.signatures[name]
        fed = _rows(signature, setting)
        try:
            wanted, have = (_run(one, definition, fed) for one in (silenced, smaller.graph))
        except tf.errors.OpError as error:
            return f"the rebuilt graph does not run ({error.message.splitlines()[0][:300]})"
        for key, value in wanted.items():
            if value.dtype.kind == "f" and not _is_close(value, have[key]):
                off = float(np.abs(value - have[key]).max())
                return f"output {key} of the rebuilt graph is off by {off:.2g}"
    return None


def _is_close(wanted: Array, have: Array) -> bool:
    if wanted.shape != have.shape:
        return False
    scale = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)))
    return bool(np.allclose(wanted, have, rtol=0, atol=TOLERANCE * scale, equal_nan=True))


def _rows(signature: Signature, setting: Setting) -> dict[str, Array]:
    """A few rows to compare on: data, synthetic floats, or zeros, which are valid tokens, too."""
    found = setting.examples.feeding(signature)
    if found is None and all(tensor.is_float for tensor in signature.inputs.values()):
        found = unlabelled.synthetic(signature)
    if found is not None:
        fixed = [tensor.shape[0] for tensor in signature.inputs.values() if tensor.shape]
        return dict(found.part(0, next((size for size in fixed if size is not None), _CHECKED_ROWS)).inputs)
    return {
        name: np.full(
            [_UNKNOWN_SIZE if size is None else size for size in tensor.shape or (1,)],
            "" if tensor.dtype == "string" else 0,
            tf.as_dtype(tensor.dtype).as_numpy_dtype,
        )
        for name, tensor in signature.inputs.items()
    }


def _run(definition: Any, signature: Any, fed: Mapping[str, Array]) -> dict[str, Array]:
    with tf.Graph().as_default():
        tf.graph_util.import_graph_def(definition, name="")
        with tf.compat.v1.Session() as session:
            return session.run(  # type: ignore[no-any-return]
                {key: info.name for key, info in signature.outputs.items()},
                {info.name: fed[key] for key, info in signature.inputs.items()},
            )


def _parameters(definition: Any) -> int:
    """Values of all floating point constants."""
    return sum(
        int(np.prod([size.size for size in node.attr["value"].tensor.tensor_shape.dim], dtype=np.int64))
        for node in definition.node
        if node.op == "Const" and tf.as_dtype(node.attr["dtype"].type).is_floating
    )


def _refused(why: str, field: str) -> Invalid:
    return Invalid(
        "StepCannotApply", f"{why}; leave the step out, or use structure: Unstructured", field=f"{field}.structure"
    )
