"""The gRPC upstream: one HTTP/2 connection at a time, made when needed and made again with growing pauses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from modelpress.sidecar.address import Address
from modelpress.sidecar.http2 import Connection
from modelpress.sidecar.stream import Done, Unprocessed, UpstreamResponse

CONNECT_TIMEOUT = 5.0
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 2.0


class Unavailable(Exception):
    """There is no connection to the model server, and none could be made."""


class Channel:
    """Calls go out on the current connection; a call that the peer certainly did not process is sent once more."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._current: Connection | None = None
        self._leaving: set[Connection] = set()
        self._connecting: asyncio.Task[Connection] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._last_error = ""
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether a call could go out now."""
        return self._current is not None and self._current.usable

    def begin(self, block: bytes, chunks: Sequence[bytes], deadline: float, done: Done) -> bool:
        """One unary call at once and at most once, where there is a connection; False where there is none.

        `done` may be told Unprocessed: then `call` can still be tried.
        """
        connection = self._current
        if connection is None or not connection.usable:
            return False
        connection.begin(block, chunks, deadline, done)
        return True

    async def call(self, block: bytes, chunks: Sequence[bytes], deadline: float) -> UpstreamResponse:
        """One unary call; raises Unavailable, Reset or TimeoutError. `deadline` is on the loop's clock."""
        for attempt in (1, 2):
            try:
                connection = self._current
                if connection is None or not connection.usable:
                    async with asyncio.timeout_at(deadline):
                        connection = await self._connection()
                return await connection.call(block, chunks, deadline)
            except Unprocessed as error:
                if attempt == 2:
                    raise Unavailable(str(error)) from error
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Ends every connection at once."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for connection in [self._current, *self._leaving]:
            if connection is not None:
                connection.abort()

    async def _connection(self) -> Connection:
        """The connection that is being made, by this call or another."""
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    def _connected(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # retrieved, also where nobody waits any longer

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise Unavailable("The sidecar is stopping")
        if loop.time() < self._not_before:
            raise Unavailable(self._last_error)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                connection = await self._open(loop)
                await connection.ready
        except (OSError, TimeoutError) as error:
            pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
            self._failures = min(self._failures + 1, 16)
            self._not_before = loop.time() + pause * random.uniform(0.8, 1.2)  # noqa: S311
            reason = str(error) or type(error).__name__
            self._last_error = f"The model server at {self._address} is not reachable: {reason}"
            raise Unavailable(self._last_error) from error
        self._failures = 0
        if self._current is not None:
            self._leaving.add(self._current)
        self._current = connection
        return connection

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Connection:
        if self._address.path:
            _, connection = await loop.create_unix_connection(lambda: Connection(self._lost), self._address.path)
            return connection
        _, connection = await loop.create_connection(
            lambda: Connection(self._lost), self._address.host, self._address.port
        )
        return connection

    def _lost(self, connection: Connection) -> None:
        self._leaving.discard(connection)
        if self._current is connection:
            self._current = None
