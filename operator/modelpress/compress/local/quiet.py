"""Keeps TensorFlow's own messages, which no log level stops, away from tables and progress bars."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

STANDARD_ERROR = 2


@contextlib.contextmanager
def standard_error(*, is_kept: bool) -> Iterator[TextIO]:
    """Yields the real standard error; whatever else is written to file descriptor 2 is dropped unless `is_kept`.

    Written to a file rather than nowhere, so that a native crash can be looked into: the file stays if it happens.
    """
    if is_kept:
        yield sys.stderr
        return
    sys.stderr.flush()
    real = os.dup(STANDARD_ERROR)
    with tempfile.NamedTemporaryFile(prefix="modelpress-run-", suffix=".stderr") as dropped:
        os.dup2(dropped.fileno(), STANDARD_ERROR)
        try:
            with open(real, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False) as stream:
                yield stream
        finally:
            sys.stderr.flush()
            os.dup2(real, STANDARD_ERROR)
            os.close(real)
