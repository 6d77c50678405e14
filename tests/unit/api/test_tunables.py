"""What a resource asks of its sidecar."""

from __future__ import annotations

from typing import Any

import pytest

from modelpress.api import tunables
from modelpress.api.resource import CompressedModel


def concurrency(**spec: Any) -> tuple[str, int, int | None]:
    document = {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "CompressedModel",
        "metadata": {"name": "m"},
        "spec": {"source": {"uri": "s3://models/m"}, **spec},
    }
    found = tunables.of_resource(CompressedModel.model_validate(document)).concurrency
    return found.mode, found.limit, found.min


BATCHING = {"batching": {"maxBatchSize": 16}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ("Fixed", 2, None)),
        ({"concurrency": {"limit": 7}}, ("Fixed", 7, None)),
        ({"concurrency": {"mode": "Elastic"}}, ("Elastic", 2, 1)),
        ({"concurrency": {"mode": "Elastic", "limit": 32}}, ("Elastic", 32, 1)),
        ({"concurrency": {"mode": "Elastic", "limit": 32, "min": 4}}, ("Elastic", 32, 4)),
        ({"concurrency": {"mode": "Elastic", "min": 8}}, ("Elastic", 8, 8)),  # the ceiling is never below the floor
        ({"serving": BATCHING}, ("Fixed", 32, None)),
        ({"serving": BATCHING, "concurrency": {"mode": "Elastic"}}, ("Elastic", 32, 16)),
        ({"serving": BATCHING, "concurrency": {"mode": "Elastic", "min": 2}}, ("Elastic", 32, 2)),
        ({"serving": BATCHING, "concurrency": {"mode": "Elastic", "limit": 10}}, ("Elastic", 10, 10)),
    ],
)
def test_the_limit_of_concurrency_and_its_floor(spec, expected):
    assert concurrency(**spec) == expected
