"""Hyper-parameters of distillation, tried on short trainings and adjusted one after the other before the long one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from modelpress.api.recipe import Distill
from modelpress.storage import durable

FROM_EPOCHS = 2
"""Trials cost about an epoch: with fewer epochs than this, the recipe's values are taken as they are."""
MOST = 6
"""Trials."""
LEAST_UPDATES = 10
_FACTOR_RATE, _FACTOR_TEMPERATURE = 3.0, 2.0
_OTHER_WEIGHT = 0.5
_FILE = "trials.json"


class Choice(NamedTuple):
    """Values of one training."""

    temperature: float
    teacher_weight: float
    learning_rate: float

    def __str__(self) -> str:
        return (
            f"temperature {self.temperature:g}, teacherWeight {self.teacher_weight:g}, "
            f"learningRate {self.learning_rate:g}"
        )


def given(step: Distill) -> Choice:
    """The values of the recipe."""
    return Choice(step.temperature, step.teacher_weight, step.learning_rate)


def adjusted(first: Choice, measure: Callable[[Choice], float], *, softens: bool, labelled: bool) -> tuple[Choice, int]:
    """(the best choice found around the first, how many were measured); smaller measures are better.

    Rate, temperature and weight are varied in this order, each around the best so far. Without `softens` the
    temperature has no effect, without `labelled` the weight.
    """
    best, least, tried = first, measure(first), 1
    for vary in (_rates, _temperatures if softens else None, _weights if labelled else None):
        for choice in list(vary(best)) if vary else ():
            tried += 1
            found = measure(choice)
            if found < least:
                best, least = choice, found
    return best, tried


class Memory:
    """Measures of choices on disk, so that a killed run does not repeat its trials."""

    def __init__(self, directory: Path | None) -> None:
        """None remembers nothing."""
        self._path = None if directory is None else directory / _FILE
        there = self._path is not None and self._path.exists()
        self._known: dict[str, float] = json.loads(self._path.read_text()) if there and self._path else {}

    def measured(self, choice: Choice, measure: Callable[[Choice], float]) -> float:
        """The measure of a choice, from an earlier run where there is one."""
        if str(choice) not in self._known:
            self._known[str(choice)] = measure(choice)
            if self._path is not None:
                durable.write(self._path, json.dumps(self._known).encode())
        return self._known[str(choice)]


def _rates(best: Choice) -> Iterator[Choice]:
    yield best._replace(learning_rate=best.learning_rate * _FACTOR_RATE)
    yield best._replace(learning_rate=best.learning_rate / _FACTOR_RATE)


def _temperatures(best: Choice) -> Iterator[Choice]:
    yield best._replace(temperature=best.temperature * _FACTOR_TEMPERATURE)
    yield best._replace(temperature=best.temperature / _FACTOR_TEMPERATURE)


def _weights(best: Choice) -> Iterator[Choice]:
    if best.teacher_weight != _OTHER_WEIGHT:
        yield best._replace(teacher_weight=_OTHER_WEIGHT)
