"""The disk tier: survives a restart of the container, and is gone with the pod."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from modelpress.sidecar.tiers.breaker import Breaker
from modelpress.sidecar.tiers.connection import is_broken
from modelpress.sidecar.tiers.database import Database
from modelpress.sidecar.tiers.tier import Event, Kept, Tier

Result = TypeVar("Result")

PATIENCE = 0.1
"""Seconds that a lookup may take: a disk that is slower than the model is of no use."""
_TOUCHED = 4096


class Disk(Tier):
    """Answers in a directory of its own; `size` is in bytes and may change at any time."""

    name = "disk"
    errors = (OSError, sqlite3.Error)

    def __init__(self, directory: Path, artifact: str, *, size: Callable[[], int], patience: float = PATIENCE) -> None:
        super().__init__(patience=patience)
        self._directory = directory
        self._size = size
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="cache-disk-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="cache-disk-write")
        self._touched: dict[bytes, None] = {}
        self._closed = False
        self._space = Breaker(failures=1)  # of writes alone: what a full disk holds can be read all the same
        self.database = Database(directory, artifact)

    async def start(self) -> None:
        with contextlib.suppress(*self.errors):
            await self._on(self._writer, self.database.open)

    async def read(self, key: bytes) -> bytes | None:
        try:
            found = await self._on(self._reader, self.database.read, key)
        except sqlite3.DatabaseError as error:
            if not is_broken(error):
                raise
            await self._begin_anew()
            return None
        if found is not None and len(self._touched) < _TOUCHED:
            self._touched[key] = None
        return found

    async def write(self, batch: Sequence[Kept], ttl: float) -> int:
        if self._space.is_open and not self._space.is_probe_due(time.monotonic()):
            return 0
        touched, self._touched = self._touched, {}
        if touched:  # recency is written with the next answers, not on every read
            with contextlib.suppress(sqlite3.OperationalError):
                await self._on(self._writer, self.database.touch, list(touched))
        full = self.database.full
        stored = await self._on(self._writer, self.database.store, batch, self._size())
        if self.database.full > full or self.database.gave_up:
            self._tell_full("it makes do with what there is on its disk, and is tried again")
        self._rest_or_go_on()
        return stored

    def _rest_or_go_on(self) -> None:
        if not self.database.gave_up:
            self._space.succeed()
        elif self._space.is_open:
            self._space.fail_probe(time.monotonic())
        else:
            self._space.fail(time.monotonic())

    async def discard(self, key: bytes) -> None:
        await self._on(self._writer, self.database.remove, key)

    async def purge(self, artifact: str | None) -> int:
        return await self._on(self._writer, self.database.purge, artifact)

    async def probe(self) -> None:
        await self._on(self._writer, self.database.open)

    async def note(self, name: str, content: bytes) -> None:
        await self._on(self._writer, self._note, name, content)

    async def noted(self, name: str) -> bytes | None:
        return await self._on(self._writer, self._noted, name)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True  # nothing that comes after the closing may open the file again
        with contextlib.suppress(*self.errors):
            await asyncio.get_running_loop().run_in_executor(self._writer, self.database.close)
        for executor in (self._reader, self._writer):
            executor.shutdown(wait=False)

    async def _begin_anew(self) -> None:
        self.events[Event.SPOILED] += 1
        with contextlib.suppress(*self.errors):
            await self._on(self._writer, self.database.replace)

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[..., Result], *arguments: object) -> Result:
        if self._closed:
            raise OSError("The tier is closed")
        return await asyncio.get_running_loop().run_in_executor(thread, work, *arguments)

    def _note(self, name: str, content: bytes) -> None:
        """Whole or not at all."""
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=self._directory, prefix=f"{name}.")
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(content)
            os.replace(path, self._directory / name)
        except OSError:
            Path(path).unlink(missing_ok=True)
            raise

    def _noted(self, name: str) -> bytes | None:
        path = self._directory / name
        return path.read_bytes() if path.exists() else None
