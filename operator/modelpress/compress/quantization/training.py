"""Quantization-aware training: a net learns to do well as the int8 numbers that it will be.

The graph that trains is the frozen one with kernels and activations rounded as the quantizer will round them, over the
variables of the model itself. Gradients pass straight through what is rounded (Bengio et al. 2013; Jacob et al. 2018,
section 3), and end where an activation is beyond its range. Ranges follow the batches; those that are served are
measured on examples afterwards, of the net that was trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Quantize
from modelpress.compress import graph
from modelpress.compress.examples import Bound
from modelpress.compress.graph import FrozenGraph
from modelpress.compress.model import OpenedModel
from modelpress.compress.quantization import annotation, kernels
from modelpress.compress.quantization.annotation import Annotated
from modelpress.compress.quantization.rounding import Kernel, Net, name_of
from modelpress.compress.steps.step import Changed, Setting
from modelpress.compress.training import loop, objective, weights
from modelpress.compress.training.constraints import Constraints
from modelpress.compress.training.course import Course, Task

_SHOWN = 12


class _Prepared(NamedTuple):
    """What is known before anything is computed."""

    frozen: FrozenGraph
    kernels: Mapping[str, Kernel]
    left: Sequence[str]
    """Kernels and tables that stay floats while the net trains."""
    net: Annotated
    found: Bound


def require(opened: OpenedModel, step: Quantize, setting: Setting) -> None:
    """Raises what `apply` would before it trains, but for the loss."""
    _prepared(opened, step, setting)


def apply(opened: OpenedModel, step: Quantize, setting: Setting) -> Changed:
    """Trains the variables in place on labels.

    Raises Invalid `StepCannotApply` where no kernel that int8 would hold is a variable, or activations cannot be
    followed, `UnknownLayer`, and what `fine_tune.apply` raises.
    """
    variables, prepared = opened.variables(), _prepared(opened, step, setting)
    found = prepared.found
    net = Net(variables, prepared.frozen, found.signature, prepared.kernels, prepared.net)
    count = opened.signatures[found.signature].fixed_batch or setting.training.batch_size
    net.begin(found.rows.part(0, count).inputs)
    trainable = weights.trainable(variables, setting.field)
    task = Task(
        signature=opened.signatures[found.signature],
        rows=found.rows,
        loss=objective.of_labels(opened, found, setting.training, net),
        seen=net.seen,
        worthless=objective.worthless(opened, found, setting.training),
        variables=[*variables, *net.ranges],
        trainable=trainable,
        constraints=Constraints(trainable, setting.masks, setting.clusters),
        names=weights.names(variables),
    )
    course = Course(step.epochs, step.learning_rate, setting.training, "Training for int8", setting.field)
    history = loop.train(task, course, setting.place)
    net.settle(variables)
    rounded = f" and {len(net.ranges) // 2} activations" if net.ranges else ""
    left = f"; not rounded while training: {_listed(prepared.left)}" if prepared.left else ""
    note = f"quantize: {len(prepared.kernels)} kernels{rounded} trained as int8, {history.note}{left}"
    return Changed(note, ranges=net.learnt())


def _prepared(opened: OpenedModel, step: Quantize, setting: Setting) -> _Prepared:
    variables, field = opened.variables(), setting.field
    chosen = weights.chosen(variables, graph.kernels(opened), step.exclude_layers, field=field)
    try:
        frozen = graph.freeze(opened, merge_weights=False)
    except graph.NotFreezable as error:
        raise _cannot(f"{error}, so that it cannot be trained for int8", field) from error
    names = sorted({name_of(variable) for variable in chosen.values()})
    rounded = kernels.found(frozen.graph, names, per_tensor=step.granularity == "PerTensor")
    if not rounded:
        raise _cannot(f"none of {_listed(names)} is the kernel of a convolution or a dense layer", field)
    found = objective.labelled_rows(setting, opened.signatures)
    _require_names(variables, field)
    left = [name for name in names if name not in rounded]
    return _Prepared(frozen, rounded, left, _annotated(frozen.graph, step, field), found)


def _require_names(variables: Sequence[Any], field: str) -> None:
    """Variables are found by name in the frozen graph."""
    times = Counter(name_of(variable).lower() for variable in variables)
    shared = [name_of(one) for one in variables if one.trainable and times[name_of(one).lower()] > 1]
    if shared:
        raise _cannot(f"several of its variables are called {shared[0]}, so that none of them can be told", field)


def _annotated(frozen: Any, step: Quantize, field: str) -> Annotated:
    """The graph with rounded activations where the scheme rounds them all; Mixed may leave them to each request."""
    if step.scheme != "StaticInt8":
        return Annotated(frozen, ())
    try:
        return annotation.annotated(frozen, symmetric=step.activations == "Symmetric")
    except annotation.NotAnnotatable as error:
        raise _cannot(f"{error}, so that it cannot be trained for int8", field) from error


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _cannot(why: str, field: str) -> Invalid:
    return Invalid("StepCannotApply", f"{why}; set epochs to 0", field=field)
