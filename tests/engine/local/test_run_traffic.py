"""Requests to show come from a file beside the resource, else from the data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modelpress.api.errors import Invalid
from modelpress.compress.dataset import Rows
from modelpress.compress.local import traffic
from modelpress.compress.signature import Signature, Tensor

SIGNATURE = Signature(
    "serving_default",
    {"x": Tensor("float32", (None, 2)), "text": Tensor("string", (None,))},
    {"y": Tensor("float32", (None, 1))},
)
ROWS = Rows(
    inputs={"x": np.arange(6, dtype=np.float32).reshape(3, 2), "text": np.array([b"a", b"b", b"c"], object)},
    targets={},
    digest="",
)


def test_the_first_row_is_sent_as_columns_with_strings_in_base64(tmp_path):
    assert traffic.shown([tmp_path], ROWS, SIGNATURE) == [
        ({"signature_name": "serving_default", "inputs": {"x": [[0.0, 1.0]], "text": [{"b64": "YQ=="}]}}, None)
    ]


@pytest.mark.parametrize("several", [False, True])
def test_bodies_of_a_file_come_first(tmp_path, several):
    body = {"instances": [1, 2]}
    (tmp_path / "requests.json").write_text(json.dumps([body, body] if several else body))
    found = traffic.shown([tmp_path / "none", tmp_path], ROWS, SIGNATURE)
    assert found == [(body, None)] * (2 if several else 1)


def test_a_request_can_say_what_it_is_about(tmp_path):
    entry = {"about": "two numbers", "body": {"instances": [1, 2]}}
    (tmp_path / "requests.json").write_text(json.dumps([entry]))
    assert traffic.shown([tmp_path], ROWS, SIGNATURE) == [(entry["body"], "two numbers")]


@pytest.mark.parametrize("text", ["{", "{}", "[]", "[1]", '{"body": 1}'])
def test_a_file_of_anything_else_is_refused(tmp_path, text):
    (tmp_path / "requests.json").write_text(text)
    with pytest.raises(Invalid, match=r"requests\.json"):
        traffic.shown([tmp_path], ROWS, SIGNATURE)


def test_percentiles_are_of_single_requests():
    found = traffic.times([1.0] * 50 + [3.0] * 50)
    assert (found.requests, found.p50, found.p95) == (100, 2.0, 3.0)
