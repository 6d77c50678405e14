"""Arrays to TensorProtos and back; numbers travel as `tensor_content`, the form that every server reads fastest."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

from modelpress.compress.evaluation.scores import Array
from modelpress.compress.signature import Tensor


def encoded(array: Array) -> tensor_pb2.TensorProto:
    """The TensorProto of an array; objects and bytes become DT_STRING."""
    shape = tensor_shape_pb2.TensorShapeProto(
        dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
    )
    if array.dtype.kind in "OSU":
        values = [value.encode() if isinstance(value, str) else bytes(value) for value in array.reshape(-1)]
        return tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_shape=shape, string_val=values)
    return tensor_pb2.TensorProto(
        dtype=tf.as_dtype(array.dtype).as_datatype_enum,
        tensor_shape=shape,
        tensor_content=np.ascontiguousarray(array).tobytes(),
    )


def decoded(proto: tensor_pb2.TensorProto) -> Array:
    """The array of a TensorProto; bfloat16 becomes float32, whose arithmetic numpy knows."""
    array: Array = tf.make_ndarray(proto)
    return array.astype(np.float32) if proto.dtype == types_pb2.DT_BFLOAT16 else array


def tensor(info: object) -> Tensor:
    """What a `TensorInfo` of a signature says."""
    shape = info.tensor_shape  # type: ignore[attr-defined]
    sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return Tensor(tf.as_dtype(info.dtype).name, sizes)  # type: ignore[attr-defined]
