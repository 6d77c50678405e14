"""Work that may run out of time: whatever shows its progress is ended by the next sign of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from modelpress.telemetry.progress import Progress, Step


class OutOfTime(BaseException):
    """Time is up. No Exception: those become findings about a model wherever kernels and converters are called."""


class Limited:
    """Shows progress as another does; within `until`, each sign of it may raise OutOfTime."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._is_over: Callable[[], bool] = _never

    @contextlib.contextmanager
    def until(self, is_over: Callable[[], bool]) -> Iterator[None]:
        """Ends what is done in the block as soon as `is_over` says so."""
        before, self._is_over = self._is_over, is_over
        try:
            yield
        finally:
            self._is_over = before

    def beat(self) -> None:
        """A sign of life that nobody sees. Raises OutOfTime."""
        if self._is_over():
            raise OutOfTime

    @contextlib.contextmanager
    def step(self, text: str, total: float | None = None) -> Iterator[Step]:
        """A piece of work."""
        self.beat()
        with self._progress.step(text, total) as step:
            yield _Beating(step, self.beat)

    def say(self, text: str) -> None:
        """A line that stays; said whatever the time."""
        self._progress.say(text)


class _Beating:
    def __init__(self, step: Step, beat: Callable[[], None]) -> None:
        self._step, self._beat = step, beat

    def advance(self, amount: float = 1) -> None:
        self._step.advance(amount)
        self._beat()

    def describe(self, text: str) -> None:
        self._step.describe(text)


def _never() -> bool:
    return False
