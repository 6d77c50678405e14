"""The proof at run time: a rebuilt graph answers as the old one does with the removed channels silenced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.compress.dataset import Array
from modelpress.compress.evaluation import examples as unlabelled
from modelpress.compress.examples import Examples, batch_size
from modelpress.compress.graph import FrozenGraph
from modelpress.compress.signature import Signature
from modelpress.compress.steps.filters import rebuild
from modelpress.compress.steps.filters.channels import Channels, Shapes

TOLERANCE = 1e-5
"""Of the largest output, or of 1 where all are smaller."""
_ROWS = 4
_UNKNOWN_SIZE = 8


def difference(
    frozen: FrozenGraph,
    smaller: FrozenGraph,
    channels: Channels,
    gone: Array,
    signatures: Mapping[str, Signature],
    examples: Examples,
) -> str | None:
    """What the smaller graph does otherwise than it should, half a sentence; None: nothing."""
    try:
        shapes = Shapes(smaller.graph)
    except ValueError as error:
        return f"the rebuilt graph does not fit together ({str(error).splitlines()[0][:300]})"
    misfit = rebuild.misfit(shapes, frozen.graph, channels, gone)
    if misfit is not None:
        return f"the rebuilt graph has another shape than it should at {misfit}"
    silenced = rebuild.silenced(frozen.graph, channels, gone)
    for name, signature in signatures.items():
        fed = rows(signature, examples)
        try:
            wanted, have = (run(one, frozen.signatures[name], fed) for one in (silenced, smaller.graph))
        except tf.errors.OpError as error:
            return f"the rebuilt graph does not run ({error.message.splitlines()[0][:300]})"
        off = _off(wanted, have)
        if off is not None:
            return f"output {off} of the rebuilt graph differs"
    return None


def run(definition: Any, signature: Any, fed: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of a GraphDef by their names in a SignatureDef."""
    with tf.Graph().as_default():
        tf.graph_util.import_graph_def(definition, name="")
        with tf.compat.v1.Session() as session:
            found: dict[str, Array] = session.run(
                {key: info.name for key, info in signature.outputs.items()},
                {info.name: fed[key] for key, info in signature.inputs.items()},
            )
    return found


def rows(signature: Signature, examples: Examples) -> dict[str, Array]:
    """A few rows to compare on: data, synthetic floats, or zeros, which are valid tokens, too.

    As many as the signature was built for; where there are fewer, some again.
    """
    found = examples.feeding(signature)
    if found is None and all(tensor.is_float for tensor in signature.inputs.values()):
        found = unlabelled.synthetic(signature)
    if found is not None:
        fixed = batch_size(signature, 0)
        part = found.part(0, fixed or _ROWS).inputs
        return {name: value[np.arange(fixed) % len(value)] for name, value in part.items()} if fixed else dict(part)
    return {
        name: np.full(
            [_UNKNOWN_SIZE if size is None else size for size in tensor.shape or (1,)],
            "" if tensor.dtype == "string" else 0,
            tf.as_dtype(tensor.dtype).as_numpy_dtype,
        )
        for name, tensor in signature.inputs.items()
    }


def _off(wanted: Mapping[str, Array], have: Mapping[str, Array]) -> str | None:
    """The first output that is another one, with how far it is off; integers may flip where floats are near."""
    for name, value in wanted.items():
        if value.shape != have[name].shape:
            return f"{name} {list(value.shape)}"
        if value.dtype.kind == "f":
            scale = max(1.0, float(np.abs(value[np.isfinite(value)]).max(initial=0)))
            if not np.allclose(value, have[name], rtol=0, atol=TOLERANCE * scale, equal_nan=True):
                return f"{name} by {np.abs(value - have[name]).max():.2g}"
    return None
