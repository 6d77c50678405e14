"""The tunables file: read at the start and again whenever it changes; what does not validate changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from modelpress.api import tunables
from modelpress.api.tunables import Tunables

PERIOD = 1.0
"""Seconds. A ConfigMap takes up to a minute to reach a pod, so looking more often gains nothing."""

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int] | None


class TunablesFile:
    """`sidecar.json` in a directory. ConfigMaps change by a symlink swap, so the file behind the links is looked at."""

    def __init__(self, directory: Path | None) -> None:
        self._path = directory / tunables.FILE_NAME if directory is not None else None
        self._stamp: Stamp = None
        self.current = Tunables()
        self.error = ""
        """Why the file as it is now is not in force; empty where it is."""
        self.unknown: tuple[str, ...] = ()
        """Keys of the file that are without effect."""
        self.loads = 0
        self.failures = 0

    def load(self) -> bool:
        """Reads the file if it is another than last time; whether `current` has changed."""
        if self._path is None:
            return False
        try:
            stat = self._path.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return False
            found, self.unknown = tunables.read(self._path.read_bytes())
        except OSError as error:
            self._refuse(f"{self._path}: {error.strerror}")
            return False
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "document"
            self._refuse(f"{self._path}: {where}: {problem['msg']}")
            return False
        self._stamp = stamp
        self.error = ""
        self.loads += 1
        log.info("Read %s", self._path)
        if self.unknown:
            log.warning("%s: unknown and without effect: %s", self._path, ", ".join(self.unknown))
        changed = found != self.current
        self.current = found
        return changed

    def _refuse(self, error: str) -> None:
        self._stamp = None  # looked at again, whatever it says of its age: it may have been read half written
        if error != self.error:
            self.failures += 1
            log.warning("%s; what was in force before stays in force", error)
        self.error = error

    async def watch(self, apply: Callable[[Tunables], None]) -> None:
        """Applies every valid change; runs until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            before = self.current
            if self.load():
                try:
                    apply(self.current)
                except Exception as error:  # whichever part cannot take it
                    stamp, self.current = self._stamp, before
                    self._refuse(f"{self._path}: cannot be put in force: {error}")
                    self._stamp = stamp  # not again every second: only another file can help
                    apply(before)
