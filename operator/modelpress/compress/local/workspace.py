"""The temporary directory of a run; those of runs that were killed are removed by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "modelpress-run-"
LOCK = "lock"


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        _sweep(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, _held(Path(name)):
        yield Path(name)


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Marks the directory as in use for as long as this process lives."""
    unseen = directory / f".{LOCK}"
    with unseen.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Under its name only once it is held: nobody finds it free.
        unseen.rename(directory / LOCK)
        yield


def _sweep(lock: Path) -> None:
    with contextlib.suppress(OSError), lock.open() as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.parent, ignore_errors=True)
