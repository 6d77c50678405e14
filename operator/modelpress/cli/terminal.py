"""Where tables go: as wide as the terminal; wide enough for them where a log is kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

LOG_WIDTH = 110


def console(stream: TextIO) -> Console:
    """A console on this stream; the variable COLUMNS, where it is set, says how wide."""
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() or "COLUMNS" in os.environ else LOG_WIDTH)
