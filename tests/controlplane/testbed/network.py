"""A network that can fail: a TCP proxy in front of the API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Network:
    """Forwards connections until it is cut; `restore` lets new ones through again."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._is_cut = False
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where clients connect; the API server's certificate is valid here too."""
        assert self._server
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._is_cut = True
        for writer in list(self._open):
            writer.transport.abort()

    def restore(self) -> None:
        """Let new connections through."""
        self._is_cut = False

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server
        self._server.close()
        self.cut()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        if self._is_cut:
            await _abort(writer)
            return
        there, here = await asyncio.open_connection("127.0.0.1", self._target_port)
        pair = {writer, here}
        self._open |= pair
        try:
            await asyncio.gather(_copy(reader, here), _copy(there, writer))
        finally:
            self._open -= pair
            await asyncio.gather(*(_abort(end) for end in pair))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


async def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def between(target_port: int) -> AsyncIterator[Network]:
    """A network up to this port of the loopback."""
    network = Network(target_port)
    await network.start()
    try:
        yield network
    finally:
        await network.stop()
