"""What a reader of one format is told, and what it gives."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from modelpress.api.errors import Invalid
from modelpress.compress.datasets.columns import Batch

GZIP_MAGIC = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True)
class Order:
    """One file to read."""

    path: Path
    field: str
    """Path of the data set in the resource, e.g. `spec.data.evaluation`."""
    limit: int | None
    """Rows that are wanted from the start; None: all. A reader may give more."""
    signature: str
    """Signature that the rows feed."""

    def place(self, row: int) -> str:
        """A row for people: the first is 1."""
        return f"{self.path.name} row {row + 1}"

    def place_after(self, start: int, row: int) -> str:
        """A row of the rows that begin at `start`, for people."""
        return self.place(start + row)

    def unreadable(self, what: str) -> Invalid:
        """The error about content that is not what the format demands."""
        return Invalid("Unreadable", f"{self.path} {what}", field=f"{self.field}.uri")


Reader = Callable[[Order], Iterator[Batch]]
"""Rows in batches of moderate size. Raises Invalid `Unreadable` and what else the format can tell."""


def opened(path: Path) -> IO[bytes]:
    """The file's content, unpacked where it is gzip."""
    with path.open("rb") as file:
        is_packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path)) if is_packed else path.open("rb")
