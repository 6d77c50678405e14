"""Two tensors have one key exactly where TensorFlow reads the same elements from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from modelpress.sidecar import key, tensor
from modelpress.sidecar.key import Identity
from modelpress.sidecar.reason import Uncacheable

FIELDS = {
    tf.float32: ("float_val", np.float32),
    tf.float64: ("double_val", np.float64),
    tf.int32: ("int_val", np.int32),
    tf.uint8: ("int_val", np.uint8),
    tf.int16: ("int_val", np.int16),
    tf.int8: ("int_val", np.int8),
    tf.uint16: ("int_val", np.uint16),
    tf.int64: ("int64_val", np.int64),
    tf.uint32: ("uint32_val", np.uint32),
    tf.uint64: ("uint64_val", np.uint64),
    tf.bool: ("bool_val", np.bool_),
}


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """The same few small values in every encoding that TensorFlow reads."""
    dtype = draw(st.sampled_from(list(FIELDS)))
    field, numpy_type = FIELDS[dtype]
    shape = draw(st.sampled_from([(), (1,), (2,), (3,), (1, 2), (2, 1), (0,)]))
    count = int(np.prod(shape))
    values = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    proto = tf.make_tensor_proto(np.zeros(shape, numpy_type))
    proto.ClearField("tensor_content")
    proto.ClearField(field)
    if draw(st.booleans()):
        proto.tensor_content = np.asarray(values, numpy_type).tobytes()
    else:
        shortest = next(
            (n for n in range(len(values) + 1) if set(values[max(n - 1, 0) :]) <= set(values[n - 1 : n] or [0])), 0
        )
        getattr(proto, field).extend(values[: draw(st.integers(shortest, len(values)))])
    return proto


def name_of(proto: Any) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(proto)
    return key.predict(Identity("m", "sha256:0"), 1, request.SerializeToString(), largest=1 << 20)


def read(proto: Any) -> tuple[Any, ...]:
    array = tf.make_ndarray(proto)
    return proto.dtype, array.shape, array.tobytes()


@settings(max_examples=300, deadline=None)
@given(left=tensors(), right=tensors())
def test_keys_are_equal_exactly_where_tensorflow_reads_the_same(left, right):
    assert (name_of(left) == name_of(right)) is (read(left) == read(right))


def test_the_numbers_of_dtypes_and_their_sizes_are_tensorflows():
    for number, kind in tensor.KINDS.items():
        assert tf.dtypes.as_dtype(number).size == kind.size
    assert tf.string.as_datatype_enum == tensor.STRING


def test_a_quantized_tensor_is_left_to_the_server():
    try:
        name_of(tf.make_tensor_proto(np.zeros(1, tf.qint8.as_numpy_dtype), tf.qint8))
    except Uncacheable as uncacheable:
        assert uncacheable.reason == "UnsupportedTensor"
    else:
        raise AssertionError
