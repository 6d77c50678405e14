"""PredictionLog: requests as TensorFlow Serving logs them and replays them to warm up; answers are left aside.

Classify and Regress requests feed their signature's only input with serialised Examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from modelpress.compress import wire
from modelpress.compress.datasets import records
from modelpress.compress.datasets.columns import Batch
from modelpress.compress.datasets.reading import Order
from modelpress.compress.rows import Array

EXAMPLES_INPUT = "inputs"
"""tensorflow::kClassifyInputs, kRegressInputs."""
_DEFAULT_SIGNATURE = "serving_default"
_TYPED = {
    "float32": "float_val",
    "float64": "double_val",
    "int32": "int_val",
    "int16": "int_val",
    "int8": "int_val",
    "uint8": "int_val",
    "uint16": "int_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "float16": "half_val",
    "bfloat16": "half_val",
}


def read(order: Order) -> Iterator[Batch]:
    """The rows, as `reading.Reader`; requests to other signatures are left out."""
    rows = 0
    for number, record in enumerate(records.records(order)):
        try:
            inputs = _inputs(wire.PredictionLog.FromString(record), order)
        except (DecodeError, ValueError) as error:
            raise order.unreadable(
                f"holds no PredictionLog that can be read in record {number + 1} ({error}); log the requests again"
            ) from error
        if inputs is None:
            continue
        yield inputs
        rows += len(next(iter(inputs.values())))
        if order.limit is not None and rows >= order.limit:
            return


def _inputs(log: Any, order: Order) -> dict[str, Array] | None:
    kind = log.WhichOneof("kind")
    if kind is None:
        return None
    request = getattr(log, kind).request
    if (request.model_spec.signature_name or _DEFAULT_SIGNATURE) != order.signature:
        return None
    if kind != "predict_log":
        return {EXAMPLES_INPUT: _examples(request.input)}
    found = {name: array(tensor) for name, tensor in sorted(request.inputs.items())}
    counts = {name: len(rows) if rows.ndim else 0 for name, rows in found.items()}
    if not counts or len(set(counts.values())) != 1 or 0 in counts.values():
        raise ValueError(f"its inputs have rows: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    return found


def _examples(given: Any) -> Array:
    if given.WhichOneof("kind") != "example_list" or not given.example_list.examples:
        raise ValueError("only lists of Examples without a context are read")
    return _strings(given.example_list.examples)


def array(tensor: Any) -> Array:
    """The array of a TensorProto, written in full or with its last value repeated. Raises ValueError."""
    name = wire.DTYPES.get(tensor.dtype, "")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    count = int(np.prod(shape, dtype=np.int64))
    if name == "string":
        return _filled(_strings(tensor.string_val), count).reshape(shape)
    if name not in _TYPED:
        raise ValueError(f"a tensor is {name or tensor.dtype}")
    dtype = np.dtype("uint16" if name in ("float16", "bfloat16") else name)
    if tensor.tensor_content:
        flat = np.frombuffer(tensor.tensor_content, dtype)
        if flat.size != count:
            raise ValueError(f"a tensor of shape {list(shape)} has {flat.size} values")
    else:
        flat = _filled(np.array(getattr(tensor, _TYPED[name]), dtype), count)
    if name == "bfloat16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    elif name == "float16":
        flat = flat.view(np.float16)
    return flat.reshape(shape)


def _strings(values: Any) -> Array:
    found = np.empty(len(values), object)
    found[:] = list(values)
    return found


def _filled(flat: Array, count: int) -> Array:
    if len(flat) in (0, count):
        if len(flat) != count:
            return np.zeros(count, flat.dtype) if flat.dtype != object else np.full(count, b"", object)
        return flat
    if len(flat) > count:
        raise ValueError(f"a tensor has {len(flat)} values, its shape has room for {count}")
    return np.concatenate([flat, np.repeat(flat[-1:], count - len(flat))])
