"""examples/movielens: a recommender that learned something, and rows that nothing was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from example_runs import Example, prepared

from modelpress.api.source import Source
from modelpress.compress import source, tflite
from modelpress.compress.model import OpenedModel
from modelpress.telemetry.progress import Silent

pytestmark = pytest.mark.xdist_group("examples")


@pytest.fixture(scope="module")
def movielens() -> Example:
    return prepared("movielens")


def test_ratings_are_measured_on_that_nothing_was_trained_on(movielens: Example) -> None:
    shown, known = movielens.rows("evaluation"), movielens.rows("training")
    pairs = [set(zip(rows["user"].tolist(), rows["film"].tolist(), strict=True)) for rows in (shown, known)]
    assert [len(pair) for pair in pairs] == [10_000, 90_004]
    assert not pairs[0] & pairs[1]


def test_the_model_knows_more_than_the_mean_and_integers_know_as_much(movielens: Example, tmp_path) -> None:
    rows = movielens.rows("evaluation")
    wanted = Source(uri=str(movielens.folder / "data" / "model.keras"))
    source.write_float32(source.find(wanted), tmp_path, progress=Silent())
    opened = OpenedModel(tmp_path, source.signatures(tmp_path, None))
    questions = {name: rows[name] for name in ("user", "film")}
    integers = tflite.Interpreter(tflite.convert(opened, "DynamicInt8")).call("serving_default", questions)
    answers = opened.call("serving_default", {name: tf.constant(array) for name, array in questions.items()})

    def error(stars: np.ndarray) -> float:
        return float(np.abs(stars - rows["stars"]).mean())

    mean = error(np.full_like(rows["stars"], movielens.rows("training")["stars"].mean()))
    assert error(answers["stars"]) < 0.9 * mean
    assert error(integers["stars"]) < error(answers["stars"]) + 0.005
