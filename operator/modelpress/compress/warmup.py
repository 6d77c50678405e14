"""Warm-up requests as TensorFlow Serving replays them: PredictionLogs in a TFRecord file, one row each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from modelpress.compress import examples
from modelpress.compress.dataset import Rows
from modelpress.compress.evaluation import codec
from modelpress.compress.signature import Signature

FILE_NAME = "tf_serving_warmup_requests"
RECORDS_LIMIT = 1000
"""A server refuses to load a model with more."""
BYTES_LIMIT = 64 * 2**20
"""A pod copies and replays them before it is ready: more would cost it more than it is worth."""


def write(
    path: Path,
    rows: Mapping[str, Rows],
    signatures: Mapping[str, Signature],
    *,
    limit: int = RECORDS_LIMIT,
    bytes_limit: int = BYTES_LIMIT,
) -> int:
    """Writes requests of each signature that has rows, in turns, and returns their number.

    How many of them a server replays is decided when a pod fetches it: all that may be asked for are kept.
    """
    share = limit // max(1, len(rows))
    requests = [_requests(signatures[name], found, share) for name, found in rows.items()]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*requests))
    count = size = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in turns:
            if log is None:
                continue
            size += len(log)
            if count and size > bytes_limit:
                break
            writer.write(log)
            count += 1
    return count


def _requests(signature: Signature, rows: Rows, limit: int) -> Iterator[bytes]:
    size = examples.batch_size(signature, 1)
    for start in range(0, min(limit, len(rows) // size) * size, size):
        log = prediction_log_pb2.PredictionLog()
        request = log.predict_log.request
        request.model_spec.signature_name = signature.name
        for name, array in rows.part(start, start + size).inputs.items():
            request.inputs[name].CopyFrom(codec.encoded(array))
        yield log.SerializeToString(deterministic=True)
