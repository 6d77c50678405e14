"""What a quantized flatbuffer loses against the float32 one, on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from modelpress.compress import tflite
from modelpress.compress.evaluation import scores
from modelpress.compress.evaluation.fidelity import Fidelity
from modelpress.compress.rows import Array


class Loss(NamedTuple):
    """Both 0 where nothing is lost, of the worst output; infinite where the model does not run or is not finite."""

    variance: float
    """Share of the variance of the outputs that is not reproduced (1 - R squared)."""
    answers: float
    """Share of rows with another answer: another class, or another side of one half."""

    def within(self, tolerance: Loss) -> bool:
        """Whether neither is larger than tolerated."""
        return self.variance <= tolerance.variance and self.answers <= tolerance.answers

    def told_by(self, rows: int) -> Loss:
        """The tolerance with one row's answer more: so few cannot tell a smaller share."""
        return self._replace(answers=self.answers + 1 / rows)

    def is_told_by(self, rows: int) -> bool:
        """Whether so many rows are enough to go to the limit of the tolerated answers."""
        return self.answers * rows >= _ROWS_ALLOWED

    def __str__(self) -> str:
        return f"{self.variance:.2%} of the outputs' variance and {self.answers:.2%} of the answers"


_ROWS_ALLOWED = 0.5
BROKEN = Loss(float("inf"), float("inf"))
Batch = Mapping[str, Array]


def unlimited() -> None:
    """The beat of work that nothing ends."""


class Comparison:
    """The answers of the float32 flatbuffer to some batches of a signature."""

    def __init__(
        self, content: bytes, signature: str, batches: Sequence[Batch], *, beat: Callable[[], None] = unlimited
    ) -> None:
        """`beat` is called before anything is compared, and may end the work by what it raises."""
        self._signature, self._batches, self._beat = signature, batches, beat
        self._expected = _answers(content, signature, batches)

    def __len__(self) -> int:
        return len(self._batches)

    def of(self, content: bytes) -> Loss:
        """What `content` loses."""
        self._beat()
        try:
            found = _answers(content, self._signature, self._batches)
        except (RuntimeError, ValueError):
            return BROKEN
        losses = [_loss(name, expected, found[name]) for name, expected in self._expected.items()]
        return Loss(max(one.variance for one in losses), max(one.answers for one in losses))


def _answers(content: bytes, signature: str, batches: Sequence[Batch]) -> dict[str, list[Array]]:
    interpreter = tflite.Interpreter(content)
    answers = [interpreter.call(signature, batch) for batch in batches]
    return {name: [answer[name] for answer in answers] for name in answers[0]}


def _loss(name: str, expected: Sequence[Array], found: Sequence[Array]) -> Loss:
    measured = Fidelity(name)
    for wanted, given in zip(expected, found, strict=True):
        measured.update(wanted, given, None)
    drop = measured.measured().drop
    if drop is None:
        return BROKEN
    agreed = [np.ravel(scores.agreement(wanted, given, None)) for wanted, given in zip(expected, found, strict=True)]
    return Loss(float(drop), 1 - float(np.concatenate(agreed).mean()))
