"""Inputs whose sizes must agree, made to agree in a TFLite model, whatever a server does before it knows them all.

TensorFlow Serving resizes one input of a flatbuffer and allocates all tensors before it looks at the next one
(tflite_session.cc), so that where two inputs meet their sizes contradict for a moment, and it answers "Failed to
allocate tensors". Where XNNPACK runs the operation at which they meet, nothing fails, not even for a request whose
sizes do contradict: it answers with what lies in memory. An input that is read through a gather whose indices are
counted along another input has that input's size at any time; sizes that really differ fail at the gather.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from modelpress.compress.dataset import Array
from modelpress.compress.model import OpenedModel
from modelpress.compress.signature import Signature

_DIFFERENT = ((3, 2), (2, 3))
"""Sizes of two inputs; a model that answers any of them takes inputs of sizes of their own."""
_REPEATED = ((3, 1), (1, 3))
"""Sizes of which an addition, say, repeats the one; rows of data never come so, other axes may."""


class Tie(NamedTuple):
    """`axis` of `name` is as long as the same axis of `leader` in every request that the model answers."""

    name: str
    axis: int
    leader: str
    repeats: bool = False
    """Whether the model also takes one row of either, which it repeats; aligned it does not."""


def ties(opened: OpenedModel, name: str, rows: Mapping[str, Array]) -> tuple[Tie, ...]:
    """Pairs of open axes of a signature whose sizes must agree: the model fails where they differ. `rows` feed it."""
    found, open_axes = [], _open_axes(opened.signatures[name])
    for place, (key, axes) in enumerate(open_axes):
        for axis in axes:
            leader = next((one for one, others in open_axes[:place] if axis in others), None)
            if leader is None or _takes(opened, name, rows, Tie(key, axis, leader), _DIFFERENT):
                continue
            repeats = _takes(opened, name, rows, Tie(key, axis, leader), _REPEATED)
            if axis == 0 or not repeats:
                found.append(Tie(key, axis, leader, repeats))
    return tuple(found)


def notes(tied: Iterable[Tie]) -> tuple[str, ...]:
    """What people should know about inputs that are aligned."""
    return tuple(
        f"a request has as many rows of {tie.name} as of {tie.leader}; one row is not repeated for many"
        for tie in tied
        if tie.repeats
    )


def aligned(tensors: Mapping[str, Any], tied: Iterable[Tie]) -> dict[str, Any]:
    """The same tensors, those that are tied in the size of their leaders."""
    found = dict(tensors)
    for tie in tied:
        found[tie.name] = _gathered(found[tie.name], _indices(tensors, tie), tie.axis)
    return found


def _gathered(tensor: Any, indices: Any, axis: int) -> Any:
    """As tf.gather, also for rows of a fixed number of strings: TFLite gathers strings from lines only."""
    columns = tensor.shape[1:].num_elements()
    if tensor.dtype != tf.string or tensor.shape.rank == 1 or axis != 0 or columns is None:
        return tf.gather(tensor, indices, axis=axis)
    places = tf.expand_dims(indices, 1) * columns + tf.range(columns)
    return tf.reshape(tf.gather(tf.reshape(tensor, [-1]), tf.reshape(places, [-1])), [-1, *tensor.shape[1:]])


def _open_axes(signature: Signature) -> Sequence[tuple[str, list[int]]]:
    """Of each input; strings lead, because TFLite gathers few of them."""
    return [
        (key, [axis for axis, size in enumerate(tensor.shape or ()) if size is None])
        for key, tensor in sorted(signature.inputs.items(), key=lambda one: (one[1].dtype != "string", one[0]))
    ]


def _takes(
    opened: OpenedModel, name: str, rows: Mapping[str, Array], tie: Tie, sizes: Iterable[tuple[int, int]]
) -> bool:
    """Whether the model answers where the axis and the leader's have any of these sizes."""
    for size, leading in sizes:
        with contextlib.suppress(Exception):  # a kernel raises whatever it raises
            of_sizes = {
                tie.name: _of_size(rows[tie.name], tie.axis, size),
                tie.leader: _of_size(rows[tie.leader], tie.axis, leading),
            }
            opened.call(name, {**rows, **of_sizes})
            return True
    return False


def _of_size(array: Array, axis: int, size: int) -> Array:
    found: Array = array.take(np.arange(size) % array.shape[axis], axis=axis)
    return found


def _indices(tensors: Mapping[str, Any], tie: Tie) -> Any:
    """0, 1, 2... along the leader's axis; out of bounds, both ways, where the sizes differ when the model runs."""
    leading, own = _counted(tensors[tie.leader], tie.axis), _counted(tensors[tie.name], tie.axis)
    longest = tf.reduce_max(tf.gather(leading, own))
    return tf.minimum(tf.gather(own, leading), longest)


def _counted(tensor: Any, axis: int) -> Any:
    """0, 1, 2... in the size of an axis, from operations whose sizes TFLite knows before it runs."""
    tensor = tf.not_equal(tensor, "") if tensor.dtype == tf.string else tensor  # sliced strings: known as it runs only
    line = tensor[tuple(slice(None) if one == axis else 0 for one in range(tensor.shape.rank))]
    return tf.cumsum(tf.ones_like(tf.cast(line, tf.int32)), exclusive=True)
