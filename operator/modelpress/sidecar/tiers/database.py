"""A SQLite file of records that never outgrows its size, and of which a crash at any moment leaves nothing torn.

SQLite rather than diskcache (unpickles what it finds, bounds only what it counts itself) or LMDB (many sizes of entries
end in MDB_MAP_FULL). Nothing is awaited from the disk (`synchronous = off`): a crash of the node may cost the file, and
every record is checked when it is read. All methods but `read` belong to one thread.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from modelpress.sidecar.tiers.connection import closed_on_failure, connect, is_no_space

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
LEAST_LOG = 3 * 2**18
"""Bytes that the log may need of the smallest disk: 64 pages, and the largest record."""
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
        self._reading_lock = threading.Lock()  # else the writer could close the reader's connection while it reads
        self._writing: sqlite3.Connection | None = None
        self._clock = 0
        self._change = 0
        self._ceiling: int | None = None
        self._room_below_it = 0
        self._stored_below_it = 0
        self.replaced = 0
        """Times that a file could not be used, or not grow, and was begun anew."""
        self.full = 0
        """Times that the disk had no space left, whatever the size we may use."""
        self.gave_up = False
        """Whether the last `store` met a disk so full that neither evicting nor beginning anew helped."""
        self.evicted = 0
        """Entries that made room for others."""
        self.used = 0
        """Bytes in use, as of the last write."""
        self.entries = 0

    def open(self) -> None:
        """What is broken, of another layout, or itself what fills the disk is replaced: it is only a cache."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self.close()
        try:
            self._writing = self._prepared()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not is_no_space(error):
                raise
            self.replace()

    def replace(self) -> None:
        """Begins anew."""
        self.replaced += 1
        self.close()
        for path in self._directory.glob(FILE + "*"):
            path.unlink(missing_ok=True)
        self.entries = self.used = 0
        self._writing = self._prepared()

    def close(self) -> None:
        """Lets go of all descriptors, the reader's included; waits for a lookup that is under way."""
        with self._reading_lock:
            reading, writing = self._reading, self._writing
            self._reading = self._writing = None
            if reading is not None:
                reading.close()
        if writing is not None:
            writing.close()

    def read(self, key: bytes) -> bytes | None:
        """In a thread of its own, with a connection of its own, which never waits for a writer."""
        query = "select content from record join entry using (id) where key = ?"
        with self._reading_lock:
            if self._writing is None:
                return None
            if self._reading is None:
                self._reading = self._connected()
            found = self._reading.execute(query, (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def touch(self, keys: Iterable[bytes]) -> None:
        """These were asked for."""
        if self._writing is None:
            return
        with self._transaction() as connection:
            connection.executemany("update entry set used = ? where key = ?", [(self._tick(), key) for key in keys])

    def store(self, records: Sequence[tuple[bytes, bytes]], size: int) -> int:
        """Keeps (key, record) pairs in a file of at most `size` bytes and returns how many of them fitted.

        Where the disk has less room than that, in as much as there is; none are tried after one that met a full disk.
        """
        self.gave_up = False
        if size < SMALLEST:
            return 0
        stored, evicted, room = 0, self.evicted, self._room(size)
        log = max(room // LOG_SHARE, LEAST_LOG)
        if room < 2 * log:
            self.full += 1
            return 0
        try:
            self._connection.execute(f"pragma journal_size_limit = {log}")
            for key, record in records:
                if len(record) + ROW <= room // LARGEST_SHARE:
                    self._store(key, record, room - log)
                    stored += 1
            self.used = self._occupied()
        except sqlite3.OperationalError as error:
            if not is_no_space(error):
                raise
            self.gave_up = True
        self.full += room < size and self.evicted > evicted
        return stored

    def remove(self, key: bytes) -> None:
        """Deletes one record; none is as good."""
        with self._transaction() as connection:
            self._delete(connection.execute("select id from entry where key = ?", (key,)).fetchall())

    def purge(self, artifact: str | None) -> int:
        """Deletes all records of one artifact, None: of all; how many there were.

        A deletion is logged first: where the disk has no space for that, the others go, too.
        """
        query = "select id from entry where ?1 is null or artifact = ?1"
        rows = self._connection.execute(query, (artifact,)).fetchall()
        try:
            with self._transaction():
                self._delete(rows)
            self.used = self._occupied()
        except sqlite3.OperationalError as error:
            if not is_no_space(error):
                raise
            self.replace()
        return len(rows)

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._writing is None:
            self.open()
        if self._writing is None:
            raise sqlite3.OperationalError("The file could not be opened")
        return self._writing

    def _connected(self) -> sqlite3.Connection:
        return connect(self._directory / FILE)

    def _prepared(self) -> sqlite3.Connection:
        connection = self._connected()
        with closed_on_failure(connection):
            found = connection.execute("pragma user_version").fetchone()[0]
            if found != LAYOUT:
                if connection.execute("select count(*) from sqlite_master").fetchone()[0]:
                    raise sqlite3.DatabaseError(f"Layout {found}")
                connection.executescript(f"begin; {_SCHEMA} pragma user_version = {LAYOUT}; commit;")
            self._clock, self.entries = connection.execute(
                "select coalesce(max(used), 0), count(*) from entry"
            ).fetchone()
            self.used = self._occupied(connection)
        return connection

    def _room(self, size: int) -> int:
        """Bytes that the files have or could have on this disk, at most `size`."""
        if not (self._directory / FILE).exists():  # whoever deleted it has the space only once we let go of it
            self.close()
        taken = 0
        for path in self._directory.glob(FILE + "*"):
            with contextlib.suppress(FileNotFoundError):
                taken += path.stat().st_size
        disk = os.statvfs(self._directory)
        room = taken + disk.f_bavail * disk.f_frsize
        if self._ceiling is None:
            self._room_below_it = room
        elif room > self._room_below_it * 9 // 8:  # others have made room since
            self._ceiling = None
        return min(room, size)

    def _store(self, key: bytes, record: bytes, limit: int) -> None:
        """Makes room and stores; where the disk itself is full, in less space than is taken now."""
        for shrink in (self._evict_more, self._begin_smaller):
            try:
                self._insert(key, record, limit if self._ceiling is None else min(limit, self._ceiling))
            except sqlite3.OperationalError as error:
                if not is_no_space(error):
                    raise
                self.full += 1
                self._stored_below_it = 0
                shrink(4 * len(record))
            else:
                self._rise()
                return
        self._insert(key, record, limit if self._ceiling is None else min(limit, self._ceiling))

    def _insert(self, key: bytes, record: bytes, limit: int) -> None:
        size = len(record) + ROW
        with self._transaction() as connection:
            self._delete(connection.execute("select id from entry where key = ?", (key,)).fetchall())
            self._make_room(size, limit)
            query = "insert into entry (key, artifact, used, size) values (?, ?, ?, ?)"
            inserted = connection.execute(query, (key, self._artifact, self._tick(), size))
            connection.execute("insert into record (id, content) values (?, ?)", (inserted.lastrowid, record))
            self._change += 1

    def _evict_more(self, size: int) -> None:
        """What is in the log moves into the file, where there is room for it; so much less may be in use from now."""
        self._ceiling = max(self._occupied() - size, LEAST_LOG)
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("pragma wal_checkpoint(truncate)")

    def _begin_smaller(self, _: int) -> None:
        """A log that cannot grow and a file that cannot either leave no way but a new file."""
        self._ceiling = max(self._occupied() * 3 // 4, LEAST_LOG)
        self.replace()

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
