"""Progress of long work: bars on a terminal, sparse log lines elsewhere (Jobs, CI)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_SECONDS = 10.0


class Step(Protocol):
    """One piece of work under way."""

    def advance(self, amount: float = 1) -> None: ...
    def describe(self, text: str) -> None: ...


class Progress(Protocol):
    """Shows pieces of work."""

    def step(self, text: str, total: float | None = None) -> contextlib.AbstractContextManager[Step]:
        """A piece of work; `total` None means of unknown length."""

    def say(self, text: str) -> None:
        """A line that stays."""


class _Silent:
    def advance(self, amount: float = 1) -> None: ...
    def describe(self, text: str) -> None: ...


class Silent:
    """Shows nothing."""

    @contextlib.contextmanager
    def step(self, text: str, total: float | None = None) -> Iterator[Step]:
        yield _Silent()

    def say(self, text: str) -> None: ...


class _Line:
    def __init__(self, console: Console, text: str, total: float | None) -> None:
        self._console, self._text, self._total = console, text, total
        self._done, self._said = 0.0, time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self._done += amount
        if time.monotonic() - self._said >= LINE_EVERY_SECONDS:
            self._said = time.monotonic()
            share = f" {self._done / self._total:.0%}" if self._total else ""
            _line(self._console, f"… {self._text}{share}")

    def describe(self, text: str) -> None:
        self._text = text


class Lines:
    """A line when a piece begins, one when it ends, and a sign of life every ten seconds between."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def step(self, text: str, total: float | None = None) -> Iterator[Step]:
        began = time.monotonic()
        _line(self._console, f"→ {text}")
        line = _Line(self._console, text, total)
        yield line
        _line(self._console, f"✓ {text} ({time.monotonic() - began:.1f} s)")

    def say(self, text: str) -> None:
        _line(self._console, text)


def _line(console: Console, text: str) -> None:
    """As it is: names of layers and shapes stand in brackets, and a log is not wrapped."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Bar:
    def __init__(self, bars: RichProgress, task: int) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: float = 1) -> None:
        self._bars.advance(self._task, amount)  # type: ignore[arg-type]

    def describe(self, text: str) -> None:
        self._bars.update(self._task, description=text)  # type: ignore[arg-type]


class Bars:
    """Bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    @contextlib.contextmanager
    def step(self, text: str, total: float | None = None) -> Iterator[Step]:
        if not self._bars.live.is_started:
            self._bars.start()
        task = self._bars.add_task(text, total=total)
        try:
            yield _Bar(self._bars, task)
            known = self._bars.tasks[self._bars.task_ids.index(task)]
            self._bars.update(task, total=known.total or 1, completed=known.total or 1)
        finally:
            self._bars.stop_task(task)
            if all(other.finished or other.stop_time is not None for other in self._bars.tasks):
                self._bars.stop()

    def say(self, text: str) -> None:
        _line(self._console, text)


def on(console: Console) -> Progress:
    """Bars where somebody watches, lines where a log is kept."""
    return Bars(console) if console.is_terminal else Lines(console)
