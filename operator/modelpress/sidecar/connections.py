"""The connections of clients to one port: how many there are, how old they become, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

MOST = 4096
"""Connections at once on one port, where the process may have as many descriptors."""
WARNING_PERIOD = 60.0
ROUND = 5.0
JITTER = 0.1
STEP = 0.1


class Connection(Protocol):
    """A client's connection."""

    born: float
    """By the monotonic clock."""

    def farewell(self) -> bool:
        """Asks the client to come back on another connection; False where it was asked before or cannot be yet.

        What is asked on this one is answered, also what is on its way; then it is closed.
        """

    def abort(self) -> None:
        """Closes it at once."""


class Connections:
    """New pods get traffic only when clients connect anew, so those that are old are asked to."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.open: set[Connection] = set()
        self._warned = -WARNING_PERIOD
        self._closed: asyncio.Event | None = None

    def opened(self, connection: Connection) -> bool:
        """A client has come; False where there are too many, and it must go."""
        if len(self.open) >= self.most:
            if time.monotonic() - self._warned > WARNING_PERIOD:
                self._warned = time.monotonic()
                log.warning("%d connections are open, and no more may be: others are turned away", self.most)
            return False
        self.open.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """A client has gone."""
        self.open.discard(connection)
        if not self.open and self._closed is not None:
            self._closed.set()

    async def watch(self, oldest: Callable[[], float]) -> None:
        """Runs until cancelled. `oldest` gives the age in seconds, give or take a tenth; 0 for any."""
        while True:
            await asyncio.sleep(ROUND)
            if (limit := oldest()) and (told := self.age(limit)):
                log.debug("Asked %d clients to connect anew", told)

    def age(self, oldest: float) -> int:
        """Asks those older than `oldest` seconds to go; how many were told."""
        now = time.monotonic()
        due = [
            connection
            for connection in self.open
            if now - connection.born >= oldest * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        ]
        return sum(connection.farewell() for connection in due)

    async def close(self, graceful: float) -> None:
        """Asks all to go, and aborts those that are still there after `graceful` seconds."""
        end = time.monotonic() + graceful
        self._closed = asyncio.Event()
        while self.open and time.monotonic() < end:
            self.age(0)
            self._closed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), STEP)
        for connection in list(self.open):
            connection.abort()
