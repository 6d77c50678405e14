"""The whole state of a training in one file, written in one step: what a kill leaves is old or new, never half."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelpress.compress.dataset import Array
from modelpress.storage import durable

FILE_NAME = "training.npz"
_COUNTERS = "counters"


class State(NamedTuple):
    """Where a training stands."""

    counters: dict[str, Any]
    """JSON-ready."""
    arrays: dict[str, Array]
    """In the order in which they were given."""


def write(directory: Path, state: State) -> None:
    """Replaces the checkpoint in `directory`. Raises StorageFull."""
    content = io.BytesIO()
    counters = np.frombuffer(json.dumps(state.counters).encode(), np.uint8)
    arrays: dict[str, Any] = {_COUNTERS: counters, **state.arrays}
    np.savez(content, **arrays)
    durable.write(directory / FILE_NAME, content.getvalue())


def read(directory: Path, expected: Sequence[tuple[str, tuple[int, ...]]]) -> State | None:
    """The checkpoint in `directory`; None where there is none that holds arrays of these names and shapes."""
    try:
        with (directory / FILE_NAME).open("rb") as opened, np.load(opened, allow_pickle=False) as loaded:
            counters = json.loads(loaded[_COUNTERS].tobytes())
            arrays = {name: loaded[name] for name in loaded.files if name != _COUNTERS}
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = all(name in arrays and arrays[name].shape == tuple(shape) for name, shape in expected)
    return State(counters, arrays) if fits else None
