"""Warm-up requests that are kept with an artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from modelpress.compress import warmup
from modelpress.compress.dataset import Rows
from modelpress.compress.signature import Signature, Tensor

SIGNATURE = Signature("serving_default", inputs={"x": Tensor("float32", (None, 1000))}, outputs={})


@pytest.mark.parametrize(("rows", "limit", "written"), [
    (5, 2**20, 5),
    (2000, 2**26, warmup.RECORDS_LIMIT),
    (50, 10_000, 2),
    (50, 1, 1),
])  # fmt: skip
def test_as_many_are_kept_as_a_server_takes_and_a_pod_copies_quickly(
    rows: int, limit: int, written: int, tmp_path: Path
) -> None:
    found = Rows(inputs={"x": np.zeros((rows, 1000), "f4")}, targets={}, digest="")
    path = tmp_path / "requests"
    count = warmup.write(path, {"serving_default": found}, {"serving_default": SIGNATURE}, bytes_limit=limit)
    assert count == len(list(tf.data.TFRecordDataset([str(path)]))) == written
