"""Two models on the same rows, batch by batch, whatever the shapes of their outputs."""

from __future__ import annotations

import numpy as np
import pytest

from modelpress.api import gate
from modelpress.compress.evaluation import comparison
from modelpress.compress.rows import Rows
from modelpress.compress.signature import Signature, Tensor
from modelpress.telemetry.progress import Silent


class Scaled:
    """A model with one value for the whole batch beside one for each row."""

    def __init__(self, scale):
        self.scale = scale

    def predict(self, inputs, *, rows):
        return {"each": self.scale * inputs["x"], "whole": np.float32(self.scale * inputs["x"].mean())[()].reshape(())}


def test_an_output_that_is_one_value_for_the_whole_batch_is_compared_batch_by_batch():
    signature = Signature(
        "serving_default",
        {"x": Tensor("float32", (None, 3))},
        {"each": Tensor("float32", (None, 3)), "whole": Tensor("float32", ())},
    )
    x = np.random.default_rng(0).random((70, 3), np.float32)
    found = comparison.compare(
        Scaled(1),
        Scaled(1.1),
        rows=Rows(inputs={"x": x}, targets={}, digest=""),
        signature=signature,
        wanted=[gate.Metric(type="CosineSimilarity", output="whole"), gate.Metric(type="Fidelity", output="whole")],
        answers=comparison.Answers(),
        progress=Silent(),
    )
    similar, faithful = found.metrics
    assert similar.value == pytest.approx(1)
    assert faithful.value < 0.9
