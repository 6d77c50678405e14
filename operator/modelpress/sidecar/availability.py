"""Which version of the model answers: read from the server's own status, because an open port or a 200 says nothing.

In a pod the server has one version directory, whose content is the artifact of the sidecar's identity. Where versions
change under a running server all the same, an answer of another version is noticed by the next miss over gRPC, and
after STEADY_PERIOD at the latest.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

STARTING_PERIOD = 0.25
STEADY_PERIOD = 5.0


class Status(NamedTuple):
    """What the server said last; `versions` are those in state AVAILABLE."""

    versions: tuple[int, ...] = ()
    message: str = "The model server has not been asked yet"

    @property
    def ready(self) -> bool:
        """Whether at least one version can answer."""
        return bool(self.versions)

    @property
    def version(self) -> int | None:
        """The version that answers requests without one, None unless it is beyond doubt."""
        return self.versions[0] if len(self.versions) == 1 else None


def parse(status: int, body: bytes) -> Status:
    """The status of a model from the answer to `GET /v1/models/<name>`, where a failed version comes with 200 too."""
    try:
        document: Any = json.loads(body)
        if status != 200:
            return Status((), f"The model server answers {status}: {document['error']}")
        entries = document["model_version_status"]
        versions = tuple(sorted(int(entry["version"]) for entry in entries if entry["state"] == "AVAILABLE"))
        if versions:
            return Status(versions, "")
        return Status((), "; ".join(_sentence(entry) for entry in entries) or "No version of the model is known")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Status((), f"The model server's status ({status}) could not be read")


def _sentence(entry: dict[str, Any]) -> str:
    detail = entry.get("status", {}).get("error_message", "")
    return f"Version {entry['version']} is {entry['state']}" + (f": {detail}" if detail else "")


class Availability:
    """Asks again and again: often until a version is available, seldom afterwards, and at once when there is doubt."""

    def __init__(self, fetch: Callable[[], Awaitable[tuple[int, bytes]]]) -> None:
        self._fetch = fetch
        self.status = Status()
        self.version: int | None = None
        self._asking: asyncio.Task[Status] | None = None
        self._doubt = asyncio.Event()

    async def refresh(self) -> Status:
        """The status now; simultaneous callers share one question."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(self._asking)

    def suspect(self) -> None:
        """An answer did not come from the version that we believe in: nothing is cached until we know again."""
        self.version = None
        self._doubt.set()

    async def watch(self) -> None:
        """Runs until cancelled."""
        while True:
            status = await self.refresh()
            try:
                async with asyncio.timeout(STEADY_PERIOD if status.ready else STARTING_PERIOD):
                    await self._doubt.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(STARTING_PERIOD)  # a server that never says its version must not be asked all the time
            self._doubt.clear()

    async def _ask(self) -> Status:
        before = self.status
        try:
            self.status = parse(*await self._fetch())
            self.version = self.status.version
        except (OSError, TimeoutError) as error:
            # The version stays: a server that is slow to tell its status is busy, and needs the cache most.
            reason = str(error) or type(error).__name__
            self.status = Status((), f"The model server's REST port does not answer: {reason}")
        finally:
            self._asking = None
        if self.status != before:
            log.info("%s", self.status.message or f"Available: version {', '.join(map(str, self.status.versions))}")
        return self.status
