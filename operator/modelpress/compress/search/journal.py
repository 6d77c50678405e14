"""The journal of a search: a line of JSON before a move is tried and one after, so that a killed search goes on.

A move that was begun and has no end was cut off: by whoever stopped the search, or because it killed its process. Each
line is appended whole and is on the disk before anything else happens.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from modelpress.api.artifact import Form
from modelpress.api.base import Model
from modelpress.api.trial import Trial
from modelpress.compress.search.move import Move
from modelpress.compress.work import WorkArea
from modelpress.storage import durable

NAME = "trials.jsonl"
"""In the work area."""


class Begun(Model):
    """A line that says that a move is about to be tried."""

    begun: str
    """The move's name."""
    recipe: str
    form: Form
    parameters: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, move: Move) -> Self:
        """The line of a move."""
        return cls(begun=move.name, recipe=move.build.recipe, form=move.build.form, parameters=move.parameters)


class Withdrawn(Model):
    """A line that says that what was begun last under a name did not end its process, and tells nothing else of it."""

    withdrawn: str


@dataclass(frozen=True)
class Entries:
    """What a journal holds."""

    trials: tuple[Trial, ...]
    """In the order of trying."""
    unfinished: tuple[Begun, ...]
    """Begun, and neither ended nor withdrawn; a move that was begun twice is there twice."""


def entries(content: bytes) -> Entries:
    """Of the whole lines; the last one may be torn, or half written."""
    trials: list[Trial] = []
    unfinished: list[Begun] = []
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        keys = json.loads(line).keys()
        if "begun" in keys:
            unfinished.append(Begun.from_json(line))
        elif "withdrawn" in keys:
            _withdraw(unfinished, Withdrawn.from_json(line).withdrawn)
        else:
            trials.append(Trial.from_json(line))
            unfinished = [one for one in unfinished if one.begun != trials[-1].name]
    return Entries(tuple(trials), tuple(unfinished))


class Journal:
    """All trials so far; one writer, the holder of the artifact's lock."""

    def __init__(self, path: Path, area: WorkArea | None = None) -> None:
        """With `area`, a journal is kept where that keeps its pieces: in a remote store too."""
        self._path, self._area = path, area
        if area is not None:
            area.recall(path)
        found = entries(_mended(path))
        self.trials: list[Trial] = list(found.trials)
        """In the order of trying."""
        self._unfinished: list[Begun] = list(found.unfinished)

    def begin(self, begun: Sequence[Begun]) -> None:
        """Note that these are about to be tried."""
        self._write(begun)
        self._unfinished += begun

    def withdraw(self, names: Iterable[str]) -> None:
        """Note that these were stopped from outside, as if they had not been begun this time."""
        stopped = [name for name in names if self.is_unfinished(name)]
        self._write([Withdrawn(withdrawn=name) for name in stopped])
        for name in stopped:
            _withdraw(self._unfinished, name)

    def append(self, trial: Trial) -> None:
        """Keep a trial for good."""
        self._write([trial])
        self.trials.append(trial)
        self._unfinished = [one for one in self._unfinished if one.begun != trial.name]

    def named(self, name: str) -> Trial | None:
        """The trial of a move; None where it was not tried to its end."""
        return next((trial for trial in self.trials if trial.name == name), None)

    def is_unfinished(self, name: str) -> bool:
        """Whether a move was begun, and cut off."""
        return any(one.begun == name for one in self._unfinished)

    def cut_off(self, times: int) -> list[Begun]:
        """The moves that were begun so often without an end, each once."""
        counts = Counter(one.begun for one in self._unfinished)
        return [one for one in {one.begun: one for one in self._unfinished}.values() if counts[one.begun] >= times]

    @property
    def seconds(self) -> float:
        """What all trials took, those of killed runs included."""
        return sum(trial.seconds for trial in self.trials)

    def _write(self, lines: Iterable[Model]) -> None:
        content = b"".join(line.json_line().encode() + b"\n" for line in lines)
        with durable.writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        if self._area is not None:
            self._area.keep(self._path)


def _withdraw(unfinished: list[Begun], name: str) -> None:
    last = next((place for place in reversed(range(len(unfinished))) if unfinished[place].begun == name), None)
    if last is not None:
        del unfinished[last]


def _mended(path: Path) -> bytes:
    """The whole lines; a torn last one, of a killed writer, is cut off, so that the next line starts a line."""
    if not path.is_file():
        return b""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        durable.write(path, whole)
    return whole
