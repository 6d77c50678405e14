"""The tier that all pods share, in Redis or Valkey. Its URL holds a password: neither is ever told to anybody."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis.asyncio as client
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from modelpress.sidecar.tiers.tier import Kept, Tier

log = logging.getLogger(__name__)

PATIENCE = 0.05
"""Seconds that a lookup may take."""
CONNECTIONS = 32
ROOT = "modelpress:1"
"""The 1 is the layout of keys."""
SCANNED_AT_ONCE = 1000
NOTE_SECONDS = 7 * 24 * 3600
_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_SETTINGS = frozenset(
    {"host", "port", "path", "db", "username", "password", "connection_class", "ssl_ca_certs", "ssl_cert_reqs"}
)
"""What a URL may decide; timeouts and pools are ours."""
_GLOB = str.maketrans({mark: f"\\{mark}" for mark in "*?[]^-\\"})


class Unconfigured(Exception):
    """There is no usable URL. Its text holds nothing of the file's content."""


class Stamp(NamedTuple):
    """Tells whether a file is another than before."""

    inode: int
    modified: int


class Redis(Tier):
    """Keys are `modelpress:1:<model>:<artifact digest>:<hex of the key>`, so models and artifacts go by prefix."""

    name = "redis"
    errors = (OSError, RedisError, Unconfigured)

    def __init__(self, url_file: Path, model: str, artifact: str, *, patience: float = PATIENCE) -> None:
        super().__init__(patience=patience)
        self._url_file = url_file
        self._model = f"{ROOT}:{model}:"
        self._prefix = f"{self._model}{artifact}:"
        self._stamp: Stamp | None = None
        self._client: client.Redis | None = None

    async def start(self) -> None:
        try:
            await self._connected()
        except self.errors as error:
            log.warning("The redis tier of the cache is not there yet: %s", type(error).__name__)

    async def read(self, key: bytes) -> bytes | None:
        connected = self._client or await self._connected()
        return _bytes(await connected.get(self._prefix + key.hex()))

    async def write(self, batch: Sequence[Kept], ttl: float) -> int:
        connected = await self._connected()
        pipeline = connected.pipeline(transaction=False)
        for kept in batch:
            pipeline.set(self._prefix + kept.key.hex(), kept.record, px=max(1, int(ttl * 1000)))
        results = await pipeline.execute(raise_on_error=False)
        refused = [result for result in results if isinstance(result, Exception)]
        if len(refused) == len(results):
            raise refused[0]  # e.g. a read-only replica: no matter of space
        return len(results) - len(refused)

    async def discard(self, key: bytes) -> None:
        await (await self._connected()).unlink(self._prefix + key.hex())

    async def purge(self, artifact: str | None) -> int:
        """Of this model alone, a thousand keys at a time: others share the server, and it must not stop for long."""
        connected = await self._connected()
        prefix = self._model if artifact is None else f"{self._model}{artifact}:"
        pattern, count = prefix.translate(_GLOB) + "*:*" if artifact is None else prefix.translate(_GLOB) + "*", 0
        cursor: Any = 0
        while True:
            cursor, keys = await connected.scan(cursor, match=pattern, count=SCANNED_AT_ONCE)
            count += int(await connected.unlink(*keys)) if keys else 0
            if not int(cursor):
                return count

    async def probe(self) -> None:
        await (await self._connected()).ping()

    async def note(self, name: str, content: bytes) -> None:
        await (await self._connected()).set(self._model + name, content, ex=NOTE_SECONDS)

    async def noted(self, name: str) -> bytes | None:
        return _bytes(await (await self._connected()).get(self._model + name))

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(*self.errors):
                await self._client.aclose()
            self._client = None

    async def _connected(self) -> client.Redis:
        """A client for the URL as the file has it now; kubelet replaces it when the Secret changes."""
        try:
            stat = self._url_file.stat()
        except OSError:
            if self._client is None:
                raise
            return self._client
        stamp = Stamp(stat.st_ino, stat.st_mtime_ns)
        if self._client is None or stamp != self._stamp:
            await self.close()
            self._client, self._stamp = _client(_text(self._url_file), self._patience), stamp
        return self._client


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Unconfigured("The file with the URL of the redis tier is no UTF-8 text") from None


def _client(text: str, patience: float) -> client.Redis:
    """No retries and short timeouts: whoever waits here could have asked the model."""
    scheme, separator, rest = text.strip().partition("://")
    try:
        found = parse_url(f"{_SCHEMES.get(scheme, scheme)}{separator}{rest}")
    except ValueError:
        raise Unconfigured(
            "The file with the URL of the redis tier holds no redis://, rediss:// or valkey:// URL"
        ) from None
    settings: dict[str, Any] = {name: value for name, value in found.items() if name in _SETTINGS}
    pool = client.BlockingConnectionPool(
        max_connections=CONNECTIONS,
        timeout=patience,
        socket_timeout=max(1.0, patience),
        socket_connect_timeout=max(1.0, patience),
        retry=Retry(NoBackoff(), 0),
        **settings,
    )
    return client.Redis.from_pool(pool)
