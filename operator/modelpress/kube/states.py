"""Reading `/state` of many sidecars at once, straight from their pods: no request to the API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp

AT_ONCE = 16
TIMEOUT_SECONDS = 3.0
LARGEST = 256 * 1024
"""Bytes; a sidecar's state has a few thousand."""

Ask = Callable[[str, int], Awaitable[dict[str, Any] | None]]
"""Takes a pod's IP address and a port."""


@contextlib.asynccontextmanager
async def asking(*, at_once: int = AT_ONCE, timeout_seconds: float = TIMEOUT_SECONDS) -> AsyncIterator[Ask]:
    """Gives what asks one sidecar: its state, or None where there is no answer in time that can be read."""
    places = asyncio.Semaphore(at_once)
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:

        async def ask(address: str, port: int) -> dict[str, Any] | None:
            host = f"[{address}]" if ":" in address else address
            async with places:
                try:
                    return await _state(session, f"http://{host}:{port}/state")
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                    return None

        yield ask


async def _state(session: aiohttp.ClientSession, url: str) -> dict[str, Any] | None:
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            return None
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > LARGEST:
                return None
        found = json.loads(content)
        return found if isinstance(found, dict) else None
