"""The processes that train together: one by itself, or the pods of an Indexed Job through collectives of TensorFlow.

Every worker holds the whole model and takes its share of each batch; gradients are summed over all of them, so that
their weights stay equal bit by bit and equal to those of one process up to rounding. Worker 0, the chief, alone
reads and writes checkpoints.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.api.errors import Invalid
from modelpress.compress.dataset import Array

TF_CONFIG = "TF_CONFIG"
ADDRESSES_VARIABLE = "MODELPRESS_WORKERS"
"""Addresses `host:port` of all workers, comma-separated, in the order of their indexes; absent: one process."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in pods of an Indexed Job."""
_SUMMED = (tf.float32, tf.float64, tf.float16, tf.int32, tf.int64)


class WorkerLost(RuntimeError):
    """Another worker went away; started again, all go on from the last checkpoint."""


class Workers:
    """The workers of this training, seen from one of them."""

    def __init__(self, index: int = 0, count: int = 1, strategy: Any = None) -> None:
        self.index, self.count, self._strategy = index, count, strategy

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes what is kept."""
        return self.index == 0

    def summed(self, function: Callable[[], Sequence[Any]]) -> list[Any]:
        """The tensors that `function` gives, summed over all workers. Traced."""
        if self._strategy is None:
            return list(function())
        return list(self._strategy.run(lambda: _all_reduced(function())))

    def agreed(self, values: Sequence[Array]) -> list[Array]:
        """The chief's arrays, on all workers; every worker gives arrays of the same shapes and types."""
        if self._strategy is None:
            return list(values)
        given = [_number(value) for value in values]
        mine = [tf.constant(value if self.is_chief else np.zeros_like(value)) for value in given]
        shared = tf.function(lambda: self._strategy.run(lambda: _all_reduced(mine)))()
        return [np.asarray(one).astype(value.dtype) for one, value in zip(shared, values, strict=True)]


def configuration(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """TF_CONFIG as it is, or made of the addresses and the index of an Indexed Job; None for one process.

    Raises Invalid `InvalidWorkers`.
    """
    if environment.get(TF_CONFIG):
        found: dict[str, Any] = json.loads(environment[TF_CONFIG])
        return found if len(found.get("cluster", {}).get("worker", ())) > 1 else None
    addresses = [one.strip() for one in environment.get(ADDRESSES_VARIABLE, "").split(",") if one.strip()]
    if len(addresses) < 2:
        return None
    index = environment.get(INDEX_VARIABLE, "")
    if not index.isdigit() or int(index) >= len(addresses):
        raise Invalid(
            "InvalidWorkers",
            f"{INDEX_VARIABLE} is {index or 'not set'}, but {ADDRESSES_VARIABLE} names {len(addresses)} workers; "
            f"set it to 0 ... {len(addresses) - 1}",
            field=INDEX_VARIABLE,
        )
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": int(index)}}


@functools.cache
def joined() -> Workers:
    """This process among its workers; waits for all of them. To be called first of all, before any operation runs."""
    config = configuration(os.environ)
    if config is None:
        return Workers()
    os.environ[TF_CONFIG] = json.dumps(config)
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.AUTO
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    return Workers(config["task"]["index"], len(config["cluster"]["worker"]), strategy)


def _all_reduced(tensors: Sequence[Any]) -> list[Any]:
    context = tf.distribute.get_replica_context()
    reduced: list[Any] = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.convert_to_tensor(one) for one in tensors])
    return reduced


def _number(value: Array) -> Array:
    """The array in a type that collectives can sum."""
    kept = tf.as_dtype(value.dtype) in _SUMMED
    return value if kept else value.astype(np.float32 if value.dtype.kind not in "biu" else np.int32)
