"""The seconds that a search took in all its runs, on the disk every few of them, so that those of killed runs count."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from modelpress.compress.work import WorkArea
from modelpress.storage import durable

NAME = "seconds"
BEAT = 5.0
"""Seconds between two notes: a kill loses as many at most."""


class Stopwatch:
    """A context manager: runs, and writes down how long, from the beginning to the end of its block."""

    def __init__(
        self,
        path: Path,
        area: WorkArea | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        beat: float = BEAT,
    ) -> None:
        """With `area`, what `keep` was told outlives this machine where that keeps its pieces."""
        self._path, self._area, self._clock, self._beat = path, area, clock, beat
        if area is not None:
            area.recall(path)
        self.before = _read(path)
        """What earlier runs took."""
        self._began = clock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stopwatch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def keep(self) -> None:
        """Note the time, in a remote store too."""
        self._note()
        if self._area is not None:
            self._area.keep(self._path)

    def _run(self) -> None:
        while not self._stopped.wait(self._beat):
            with contextlib.suppress(OSError, durable.StorageFull):  # the next trial will say so
                self._note()

    def _note(self) -> None:
        durable.write(self._path, f"{self.before + self._clock() - self._began:.1f}\n".encode())


def _read(path: Path) -> float:
    try:
        return float(path.read_bytes())
    except (OSError, ValueError):
        return 0.0
