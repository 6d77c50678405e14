"""The fast way through numpy gives what the exact way gives, or leaves the value to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2

from modelpress.server import json_response, json_values, tensors
from modelpress.server.failure import Failure

NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65), st.integers(-300, 300), st.floats(), st.floats(width=32), st.booleans(), st.none()
)
ROWS = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1))
VALUES = st.one_of(NUMBERS, st.lists(NUMBERS), ROWS, st.recursive(NUMBERS, st.lists, max_leaves=8))
TYPES = sorted({*json_values._INTEGERS, *json_values._EXACT_INTEGERS})


@settings(max_examples=400, deadline=None)
@given(VALUES, st.sampled_from(TYPES))
def test_fast_and_exact_agree(value, dtype):
    fast = json_values.fast(value, dtype)
    if fast is None:
        return
    exact = json_values.exact(value, dtype)
    assert fast.dtype == exact.dtype == tensors.NUMPY[dtype]
    np.testing.assert_array_equal(fast, exact)


def test_what_every_client_sends_takes_the_fast_way():
    assert json_values.fast([[0, 1.5, 2], [1, 0, 0]], types_pb2.DT_FLOAT) is not None
    assert json_values.fast([[0, 1], [2, 3]], types_pb2.DT_INT64) is not None


@pytest.mark.parametrize("value", [[True, 1.5], [[0, False]], [1, None], [1, [2]], ["1"]])
def test_what_numpy_would_bend_does_not(value):
    assert json_values.fast(value, types_pb2.DT_FLOAT) is None
    with pytest.raises(Failure):
        json_values.exact(value, types_pb2.DT_FLOAT)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1))
def test_floats_survive_the_way_out_and_in(values):
    import json

    array = np.array(values, np.float32)
    body = json_response.predictions({"y": array}, "columnar")
    np.testing.assert_array_equal(np.array(json.loads(body)["outputs"], np.float32), array)
