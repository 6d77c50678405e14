"""The loss of a constant answer is known before training, and one that goes far above it ends the training early."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Distill, FineTune, Training
from modelpress.compress.dataset import Rows
from modelpress.compress.steps import distill, fine_tune, loss

CLASSES = np.full((4, 3), 1 / 3, "f4")
SCORES = np.full((4, 1), 0.5, "f4")
NUMBERS = np.array([0, 0, 1, 2])


@pytest.mark.parametrize(
    ("output", "labels", "expected"),
    [
        (CLASSES, NUMBERS, entropy([0.5, 0.25, 0.25])),
        (CLASSES, np.eye(3)[NUMBERS], entropy([0.5, 0.25, 0.25])),
        (SCORES, np.array([0, 0, 0, 1]), entropy([0.75, 0.25])),
        (SCORES, np.array([1.5, 2.5, 3.5, 4.5], "f4"), np.var([1.5, 2.5, 3.5, 4.5])),
    ],
    ids=["numbers", "one-hot", "yes or no", "values"],
)
def test_the_loss_of_a_constant_answer_is_the_entropy_of_labels_or_their_variance(output, labels, expected):
    assert loss.of_constant("y", output, labels, labels, Training()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("optimizer", "rate"), [("SGD", 1.5), ("Adam", 0.3)], ids=["it explodes", "it forgets"])
def test_a_training_that_goes_wrong_is_ended_long_before_its_epochs_are_over(opened, setting, optimizer, rate):
    given = setting(training={"batchSize": 8, "optimizer": optimizer, "clipNorm": 0})
    with pytest.raises(Invalid) as refused:
        fine_tune.apply(opened, FineTune(epochs=6, learning_rate=rate), given)
    assert refused.value.reason == "TrainingDiverged"
    assert "always giving the same answer would cost 2.3" in refused.value.message


def test_clipped_it_learns(opened, setting, accuracy):
    fine_tune.apply(opened, FineTune(learning_rate=1.5), setting(training={"optimizer": "SGD", "clipNorm": 0.1}))
    assert accuracy(opened) > 0.9


def test_a_rate_that_diverges_in_a_trial_is_not_chosen(opened, setting, digits, accuracy):
    given = setting(rows=Rows(digits[0].inputs, digits[0].targets, ""), training={"batchSize": 8})
    step = Distill.model_validate({"student": {"width": 0.75}, "epochs": 2, "learningRate": 1, "teacherWeight": 0.5})
    assert "learningRate 1 " not in distill.apply(opened, step, given).note
