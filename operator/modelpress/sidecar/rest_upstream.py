"""The REST upstream: pooled HTTP/1.1 connections to the model server."""

from __future__ import annotations

import asyncio
import io

import aiohttp
from yarl import URL

from modelpress.sidecar.address import Address
from modelpress.sidecar.answer import HOP_BY_HOP, Answer
from modelpress.sidecar.headers import Headers

STATUS_TIMEOUT = 2.0
_LARGE = 1 << 20
"""Bytes of a body that is written in pieces."""

_NOT_FORWARDED = HOP_BY_HOP | {b"content-length", b"expect", b"accept-encoding"}


class _ClosedWhileIdle(ConnectionError):
    """The server closed a connection without an answer: most likely it did so just before we wrote."""


class RestUpstream:
    """Requests go out as they came in, without redirects, decompression or headers of our own."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._session: aiohttp.ClientSession | None = None

    async def request(self, method: str, target: str, headers: Headers, body: bytes, *, timeout: float) -> Answer:
        """The answer, whatever its status; raises OSError where there is none, TimeoutError after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        try:
            return await self._request(method, target, headers, body, timeout)
        except _ClosedWhileIdle:  # predictions may be asked for twice
            return await self._request(method, target, headers, body, max(end - loop.time(), 0.001))

    async def status(self, model: str) -> tuple[int, bytes]:
        """HTTP status and body of the model's status."""
        answer = await self._request("GET", f"/v1/models/{model}", (), b"", STATUS_TIMEOUT)
        return answer.status, answer.body

    async def close(self) -> None:
        """Closes the pool."""
        if self._session is not None:
            await self._session.close()

    async def _request(self, method: str, target: str, headers: Headers, body: bytes, timeout: float) -> Answer:
        if self._session is None:
            self._session = self._open()
        host = "localhost" if self._address.path else str(self._address)
        sent = [(name.decode("latin-1"), _text(value)) for name, value in headers if _passes(name)]
        try:
            async with self._session.request(
                method,
                URL(f"http://{host}{target}", encoded=True),
                headers=sent,
                data=(io.BytesIO(body) if len(body) > _LARGE else body) or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                received = await response.read()
                return Answer(response.status, _received(response.raw_headers, method, received), received)
        except aiohttp.ClientConnectorError as error:
            raise ConnectionError(f"The model server at {self._address} is not reachable: {error.os_error}") from error
        except (aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
            raise _ClosedWhileIdle(f"The model server at {self._address} closed the connection") from error
        except aiohttp.ClientError as error:
            raise ConnectionError(f"The model server at {self._address} did not answer: {error}") from error

    def _open(self) -> aiohttp.ClientSession:
        path = self._address.path
        connector = aiohttp.UnixConnector(path, limit=0) if path else aiohttp.TCPConnector(limit=0, use_dns_cache=False)
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
            loop=asyncio.get_running_loop(),
        )


def _text(value: bytes) -> str:
    """What is written as the same bytes, where they are UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _passes(name: bytes) -> bool:
    return name not in _NOT_FORWARDED


def _received(raw: Headers, method: str, body: bytes) -> Headers:
    """Response headers as they came; the length is that of the body that we hold, but for HEAD, which has none."""
    length = b"content-length"
    kept = [(name.lower(), value) for name, value in raw if name.lower() not in HOP_BY_HOP]
    if method == "HEAD":
        return tuple(kept)
    return (*(pair for pair in kept if pair[0] != length), (length, str(len(body)).encode()))
