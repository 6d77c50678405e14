"""Warm-up: recorded requests run against a version before it serves; one that fails fails the load."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from modelpress.server import examples, inference, tensors
from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.metrics import Metrics
from modelpress.server.servable import Servable

log = logging.getLogger(__name__)

FILE = Path("assets.extra/tf_serving_warmup_requests")
MOST_RECORDS = 1000


def replay(servable: Servable, path: Path, *, iterations: int, metrics: Metrics) -> None:
    """Run every record of a version directory; raises Failure. No file is fine."""
    file = path / FILE
    if not file.is_file():
        log.info("No warmup data file found at %s", file)
        return
    began = time.perf_counter_ns()
    count = 0
    unread = Metrics()
    for count, record in enumerate(_records(file), start=1):
        if count > MOST_RECORDS:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {path}")
        for _ in range(max(iterations, 1)):
            _run(servable, record, unread)
    elapsed = (time.perf_counter_ns() - began) / 1000
    metrics.warmup_latency.add(elapsed, str(path), "OK")
    metrics.warmup_records.add(str(path), "OK", amount=count)
    log.info(
        "Finished reading warmup data for model at %s. Number of warmup records read: %d. "
        "Elapsed time (microseconds): %d.",
        file,
        count,
        elapsed,
    )


def _records(file: Path) -> Iterator[Any]:
    try:
        for raw in tf.compat.v1.io.tf_record_iterator(str(file)):
            try:
                yield prediction_log_pb2.PredictionLog.FromString(raw)
            except Exception as error:
                raise invalid_argument(f"Failed to parse warmup record: {error} at {file}") from error
    except tf.errors.OpError as error:
        raise Failure(Code(error.error_code), error.message) from error


def _run(servable: Servable, record: Any, metrics: Metrics) -> None:
    kind = record.WhichOneof("log_type")
    if kind == "predict_log":
        _predict(servable, record.predict_log.request, metrics)
    elif kind == "classify_log":
        examples.classify(servable, record.classify_log.request, metrics=metrics)
    elif kind == "regress_log":
        examples.regress(servable, record.regress_log.request, metrics=metrics)
    elif kind == "multi_inference_log":
        examples.infer(servable, 0, record.multi_inference_log.request, metrics=metrics)
    else:
        raise Failure(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


def _predict(servable: Servable, request: Any, metrics: Metrics) -> None:
    signature = inference.signature_of(servable, request.model_spec.signature_name)
    try:
        given = {alias: tensors.decode(proto) for alias, proto in request.inputs.items()}
    except (ValueError, TypeError) as error:
        raise invalid_argument(f"tensor parsing error: {error}") from error
    inference.predict(servable, signature, given, request.output_filter, model="", metrics=metrics)
