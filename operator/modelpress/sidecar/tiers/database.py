"""A SQLite file of records that never outgrows its size, and of which a crash at any moment leaves nothing torn.

SQLite rather than diskcache (unpickles what it finds, bounds only what it counts itself) or LMDB (many sizes of entries
end in MDB_MAP_FULL). Nothing is awaited from the disk (`synchronous = off`): a crash of the node may cost the file, and
every record is checked when it is read. All methods but `read` belong to one thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

FILE = "answers.sqlite"
LAYOUT = 1
LOG_SHARE = 8
"""One part in so many of the size is for SQLite's write-ahead log, which holds the largest record at least."""
LARGEST_SHARE = 16
"""A record is at most one part in so many of the size."""
ROW = 256
"""Bytes that an entry costs beside its record, indices and half a page included."""
SMALLEST = 2**22
"""Bytes below which nothing is kept at all."""
RISE_AFTER = 4096
"""Records after which a disk that was full may be used up to twice as much."""
_EVICTED_AT_ONCE = 16
_SCHEMA = """
create table entry (id integer primary key, key blob not null unique, artifact text not null, used integer not null,
                    size integer not null);
create index entry_used on entry (used);
create table record (id integer primary key, content blob not null);
"""


class Database:
    """Records by key. Raises sqlite3.Error and OSError."""

    def __init__(self, directory: Path, artifact: str) -> None:
        self._directory = directory
        self._artifact = artifact
        self._reading: sqlite3.Connection | None = None
        self._writing: sqlite3.Connection | None = None
        self._clock = 0
        self._change = 0
        self._ceiling: int | None = None
        self._stored_below_it = 0
        self.replaced = 0
        """Times that a file could not be used, or not grow, and was begun anew."""
        self.full = 0
        """Times that the disk had no space left, whatever the size we may use."""
        self.evicted = 0
        """Entries that made room for others."""
        self.used = 0
        """Bytes in use, as of the last write."""
        self.entries = 0

    def open(self) -> None:
        """What is broken or of another layout is replaced: it is only a cache."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self.close()
        try:
            self._writing = self._prepared()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.replace()

    def replace(self) -> None:
        """Begins anew."""
        self.replaced += 1
        self.close()
        for path in self._directory.glob(FILE + "*"):
            path.unlink(missing_ok=True)
        self._writing = self._prepared()

    def close(self) -> None:
        """Of the writer; a reader closes with the last reference to it."""
        if self._writing is not None:
            self._writing.close()
        self._reading = self._writing = None

    def read(self, key: bytes) -> bytes | None:
        """In a thread of its own, with a connection of its own, which never waits for a writer."""
        if self._writing is None:
            return None
        connection = self._reading or self._connected()
        self._reading = connection
        query = "select content from record join entry using (id) where key = ?"
        found = connection.execute(query, (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def touch(self, keys: Iterable[bytes]) -> None:
        """These were asked for."""
        with self._transaction() as connection:
            connection.executemany("update entry set used = ? where key = ?", [(self._tick(), key) for key in keys])

    def store(self, records: Sequence[tuple[bytes, bytes]], size: int) -> int:
        """Keeps (key, record) pairs in a file of at most `size` bytes and returns how many of them fitted."""
        self._connection.execute(f"pragma journal_size_limit = {size // LOG_SHARE}")
        stored = 0
        for key, record in records:
            fits = size >= SMALLEST and len(record) + ROW <= size // LARGEST_SHARE
            stored += fits and self._stored(key, record, size - size // LOG_SHARE)
        self.used = self._occupied()
        return stored

    def remove(self, key: bytes) -> None:
        """Deletes one record; none is as good."""
        with self._transaction() as connection:
            self._delete(connection.execute("select id from entry where key = ?", (key,)).fetchall())

    def purge(self, artifact: str | None) -> int:
        """Deletes all records of one artifact, None: of all; how many there were."""
        with self._transaction() as connection:
            query = "select id from entry where ?1 is null or artifact = ?1"
            rows = connection.execute(query, (artifact,)).fetchall()
            self._delete(rows)
        self.used = self._occupied()
        return len(rows)

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._writing is None:
            self.open()
        if self._writing is None:
            raise sqlite3.OperationalError("The file could not be opened")
        return self._writing

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._directory / FILE, timeout=1, isolation_level=None, check_same_thread=False)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = off")
        connection.execute("pragma wal_autocheckpoint = 64")
        return connection

    def _prepared(self) -> sqlite3.Connection:
        connection = self._connected()
        found = connection.execute("pragma user_version").fetchone()[0]
        if found != LAYOUT:
            if connection.execute("select count(*) from sqlite_master").fetchone()[0]:
                raise sqlite3.DatabaseError(f"Layout {found}")
            connection.executescript(f"begin; {_SCHEMA} pragma user_version = {LAYOUT}; commit;")
        self._clock, self.entries = connection.execute("select coalesce(max(used), 0), count(*) from entry").fetchone()
        self.used = self._occupied(connection)
        return connection

    def _stored(self, key: bytes, record: bytes, limit: int) -> bool:
        """Makes room and stores; where the disk itself is full, in less space than is taken now."""
        for attempt in range(3):
            try:
                self._insert(key, record, limit if self._ceiling is None else min(limit, self._ceiling))
            except sqlite3.OperationalError as error:
                if not is_no_space(error):
                    raise
                self._shrink(attempt, 4 * len(record))
            else:
                self._rise()
                return True
        return False

    def _insert(self, key: bytes, record: bytes, limit: int) -> None:
        size = len(record) + ROW
        with self._transaction() as connection:
            self._delete(connection.execute("select id from entry where key = ?", (key,)).fetchall())
            self._make_room(size, limit)
            query = "insert into entry (key, artifact, used, size) values (?, ?, ?, ?)"
            inserted = connection.execute(query, (key, self._artifact, self._tick(), size))
            connection.execute("insert into record (id, content) values (?, ?)", (inserted.lastrowid, record))
            self._change += 1

    def _shrink(self, attempt: int, size: int) -> None:
        """First by evicting; but a log that cannot grow and a file that cannot either leave no way but a new file."""
        occupied = self._occupied()
        self.full += 1
        self._stored_below_it = 0
        self._ceiling = max(occupied - size, 0)
        with contextlib.suppress(sqlite3.OperationalError):
            if attempt:
                self._ceiling = occupied * 3 // 4
                self.replace()
            else:
                self._connection.execute("pragma wal_checkpoint(truncate)")

    def _rise(self) -> None:
        """Others may have made room meanwhile."""
        if self._ceiling is None:
            return
        self._stored_below_it += 1
        if self._stored_below_it >= RISE_AFTER:
            self._ceiling, self._stored_below_it = self._ceiling * 2, 0

    def _make_room(self, size: int, limit: int) -> None:
        """Pages of what is deleted are used again, so the file never grows beyond the limit."""
        excess = self._occupied() + size - limit
        while excess > 0:
            query = "select id, size from entry order by used limit ?"
            eldest = self._connection.execute(query, (_EVICTED_AT_ONCE,)).fetchall()
            if not eldest:
                return
            self._delete(eldest)
            self.evicted += len(eldest)
            excess -= sum(freed for _, freed in eldest)

    def _delete(self, rows: Sequence[tuple[int, ...]]) -> None:
        for table in ("entry", "record"):
            self._connection.executemany(f"delete from {table} where id = ?", [row[:1] for row in rows])  # noqa: S608
        self._change -= len(rows)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    def _occupied(self, connection: sqlite3.Connection | None = None) -> int:
        asked = connection or self._connection
        pages, free, size = (
            asked.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        self._change = 0
        connection.execute("begin immediate")
        try:
            yield connection
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        self.entries += self._change


def is_no_space(error: sqlite3.Error) -> bool:
    """Whether the disk is full; a full tmpfs may come as an I/O error of a write."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def is_broken(error: Exception) -> bool:
    """Whether the file itself is no longer a database, so that nothing but another one helps."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
