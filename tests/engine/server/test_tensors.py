"""TensorProto and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from modelpress.server import tensors

DTYPES = [dtype for number, dtype in tensors.NUMPY.items() if number != tensors.STRING]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (40, 5), (2, 0, 3)])
@pytest.mark.parametrize("as_content", [False, True])
def test_an_array_survives_both_encodings_and_tensorflow_reads_them(dtype, shape, as_content):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    proto = tensor_pb2.TensorProto()
    tensors.encode(array, proto, as_content=as_content)
    for found in (tensors.decode(proto), tf.make_ndarray(proto)):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_tensorflow_writes_is_read(dtype):
    array = np.array([[1, 0], [1, 1]]).astype(dtype)
    np.testing.assert_array_equal(tensors.decode(tf.make_tensor_proto(array)), array)


def test_strings_keep_every_byte():
    array = np.array([[b"a\x00", b""], [b"\xff", b"b"]], dtype=object)
    proto = tensor_pb2.TensorProto()
    tensors.encode(array, proto)
    assert tensors.decode(proto).tolist() == array.tolist()


@pytest.mark.parametrize(("given", "expected"), [([], [0, 0, 0]), ([7], [7, 7, 7]), ([1, 2, 3, 4], [1, 2, 3])])
def test_typed_fields_repeat_their_last_value_and_lose_what_is_too_much(given, expected):
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_INT32, int_val=given)
    proto.tensor_shape.dim.add().size = 3
    assert tensors.decode(proto).tolist() == expected


def test_a_long_field_is_read_whole_wherever_it_lies_in_the_message():
    values = np.arange(100, dtype=np.float32)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=values.tolist(), version_number=3)
    proto.tensor_shape.dim.add().size = 100
    proto.int_val.append(1)
    np.testing.assert_array_equal(tensors.decode(proto), values)


@pytest.mark.parametrize("change", ["content", "dtype", "rank", "size"])
def test_what_is_no_tensor_is_an_error(change):
    proto = tf.make_tensor_proto(np.ones(3, np.float32))
    if change == "content":
        proto.tensor_content = b"12345"
    elif change == "dtype":
        proto.dtype = types_pb2.DT_VARIANT
    elif change == "rank":
        proto.tensor_shape.unknown_rank = True
    else:
        proto.tensor_shape.dim[0].size = -1
    with pytest.raises(ValueError, match=r"no such tensor|fully defined|cannot be"):
        tensors.decode(proto)
