"""Mixed precision: products in bfloat16, weights, sums and what is exported in float32.

A model is trained as the graph that it was saved as, which no policy of Keras reaches: TensorFlow's own rewriting of
graphs (auto_mixed_precision, for oneDNN on CPUs) puts the casts in. bfloat16 has float32's exponents, so that losses
need no scaling. Not every processor can: whether products are rounded is tried, never assumed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

OPTION = "auto_mixed_precision_onednn_bfloat16"
_PROBED = 64
"""Rows and columns of a product that tells; float32 agrees with itself on far more digits than bfloat16 has."""
_ROUNDED = 1e-4


@contextlib.contextmanager
def mixed(wanted: bool | None) -> Iterator[bool]:
    """Functions that first run within compute in mixed precision if it is wanted; gives whether they do."""
    if not wanted:
        yield False
        return
    was = bool(tf.config.optimizer.get_experimental_options().get(OPTION, False))
    tf.config.optimizer.set_experimental_options({OPTION: True})
    try:
        yield _is_in_effect()
    finally:
        tf.config.optimizer.set_experimental_options({OPTION: was})


def _is_in_effect() -> bool:
    values = np.random.default_rng(0).random((_PROBED, _PROBED), dtype=np.float32)
    if tf.config.list_logical_devices("GPU"):
        return False  # nothing is rewritten there, and a GPU's own TF32 would look like it
    product = tf.function(lambda one: tf.matmul(one, one))
    found = np.asarray(product(tf.constant(values)))
    return not np.allclose(found, values @ values, rtol=_ROUNDED)
