"""Connections to a SQLite file, and what their errors mean.

Connections are closed by name, always: sqlite3's are in reference cycles, so that one that is merely dropped keeps its
descriptor, and the space of a file that was deleted, until the next garbage collection.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path


def connect(path: Path) -> sqlite3.Connection:
    """For any one thread at a time. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
    with closed_on_failure(connection):
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = off")
        connection.execute("pragma wal_autocheckpoint = 64")
    return connection


@contextlib.contextmanager
def closed_on_failure(connection: sqlite3.Connection) -> Iterator[None]:
    """Leaves no descriptor behind when what is done first with a connection fails."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def is_no_space(error: sqlite3.Error) -> bool:
    """Whether the disk is full; a full tmpfs may come as an I/O error of a write."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def is_broken(error: Exception) -> bool:
    """Whether the file itself is no longer a database, so that nothing but another one helps."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
