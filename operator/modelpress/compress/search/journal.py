"""The journal of a search: one line of JSON a trial, appended whole, so that a killed search goes on where it was."""

from __future__ import annotations

import os
from pathlib import Path

from modelpress.api.trial import Trial
from modelpress.compress.work import WorkArea
from modelpress.storage import durable


class Journal:
    """All trials so far; one writer, the holder of the artifact's lock."""

    def __init__(self, path: Path, area: WorkArea | None = None) -> None:
        """With `area`, a journal is kept where that keeps its pieces: in a remote store too."""
        self._path, self._area = path, area
        if area is not None:
            area.recall(path)
        self.trials: list[Trial] = list(_read(path))
        """In the order of trying."""

    def append(self, trial: Trial) -> None:
        """Keep a trial for good."""
        with durable.writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, trial.json_line().encode() + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        if self._area is not None:
            self._area.keep(self._path)
        self.trials.append(trial)

    def named(self, name: str) -> Trial | None:
        """The trial of a move; None where it was not tried."""
        return next((trial for trial in self.trials if trial.name == name), None)

    @property
    def seconds(self) -> float:
        """What all trials took, those of killed runs included."""
        return sum(trial.seconds for trial in self.trials)


def _read(path: Path) -> list[Trial]:
    """The whole lines; a torn last one, of a killed writer, is cut off, so that the next line starts a line."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        durable.write(path, whole)
    return [Trial.from_json(line) for line in whole.splitlines()]
