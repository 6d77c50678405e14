"""Quantization-aware training: a net learns to do well as the int8 numbers that it will be.

The graph that trains is the frozen one with kernels and activations rounded as the quantizer will round them, over the
variables of the model itself. Gradients pass straight through what is rounded (Bengio et al. 2013; Jacob et al. 2018,
section 3), and end where an activation is beyond its range. Ranges follow the batches; those that are served are
measured on examples afterwards, of the net that was trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Quantize
from modelpress.compress import graph
from modelpress.compress.model import OpenedModel
from modelpress.compress.quantization import annotation
from modelpress.compress.quantization.annotation import Annotated
from modelpress.compress.quantization.rounding import Kernel, Net, name_of
from modelpress.compress.steps.step import Changed, Setting
from modelpress.compress.training import loop, objective, weights
from modelpress.compress.training.batches import fixed_rows
from modelpress.compress.training.constraints import Constraints
from modelpress.compress.training.course import Course, Task

_CHANNELS: Mapping[str, tuple[int, ...]] = {
    "Conv2D": (3,),
    "DepthwiseConv2dNative": (2, 3),
    "Conv2DBackpropInput": (2,),
    "MatMul": (1,),
    "BatchMatMulV2": (-1,),
    "GatherV2": (),
    "ResourceGather": (),
}
"""Operation -> axes of its kernel of which each channel has a scale of its own; none: one scale."""
_FACTORED = {"Conv2D": 1, "DepthwiseConv2dNative": 2}
"""Operation that normalisation may follow -> last axes of its kernel that channels take."""


def apply(opened: OpenedModel, step: Quantize, setting: Setting) -> Changed:
    """Trains the variables in place on labels.

    Raises Invalid `StepCannotApply` where no kernel that int8 would hold is a variable, or activations cannot be
    followed, `UnknownLayer`, and what `fine_tune.apply` raises.
    """
    chosen = weights.chosen(opened.variables(), step.exclude_layers, field=setting.field)
    try:
        frozen = graph.freeze(opened, merge_weights=False)
    except graph.NotFreezable as error:
        raise _cannot(f"{error}, so that it cannot be trained for int8", setting.field) from error
    kernels = _kernels(frozen.graph, chosen, setting.field, per_tensor=step.granularity == "PerTensor")
    found = objective.labelled_rows(setting, opened.signatures)
    variables = opened.variables()
    _require_names(variables, setting.field)
    net = Net(variables, frozen, found.signature, kernels, _annotated(frozen.graph, step, setting.field))
    count = fixed_rows(opened.signatures[found.signature]) or setting.training.batch_size
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
    note = f"quantize: {len(kernels)} kernels{rounded} trained as int8, {history.note}"
    return Changed(note, ranges=net.learnt())


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


def _kernels(frozen: Any, chosen: Mapping[int, Any], field: str, *, per_tensor: bool) -> dict[str, Kernel]:
    """Name of a kernel -> how it is rounded, as the operations that use it say."""
    names = {name_of(variable) for variable in chosen.values()}
    normalised = annotation.normalised(frozen) if per_tensor else {}
    found: dict[str, Kernel] = {}
    for node in frozen.node:
        for name in {source.partition(":")[0] for source in node.input} & names if node.op in _CHANNELS else ():
            axes = (0,) if _is_transposed(node) else _CHANNELS[node.op]
            follows = normalised.get(node.name) if node.op in _FACTORED else None
            found[name] = Kernel(() if per_tensor else axes, follows, _FACTORED.get(node.op, 1))
    if not found:
        raise _cannot(f"none of {', '.join(sorted(names)[:12])} is the kernel of a convolution or a dense layer", field)
    return found


def _is_transposed(node: Any) -> bool:
    return node.op == "MatMul" and bool(node.attr["transpose_b"].b)


def _cannot(why: str, field: str) -> Invalid:
    return Invalid("StepCannotApply", f"{why}; set epochs to 0", field=field)
