"""All tiers below memory, in the order in which they are asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.tiers.tier import PURGE_PATIENCE, Tier

START_PATIENCE = 1.0


class Found(NamedTuple):
    """An answer, its age in seconds, and the name of the tier that had it."""

    answer: Answer
    age: float
    tier: str


class Stack:
    """Falsy without tiers. `ttl` is in seconds and may change at any time."""

    def __init__(self, tiers: Sequence[Tier], *, ttl: Callable[[], float]) -> None:
        self.tiers = tuple(tiers)
        self._ttl = ttl
        self._storing: list[asyncio.Task[None]] = []
        self._purges = 0

    def __bool__(self) -> bool:
        return bool(self.tiers)

    async def start(self) -> None:
        """Opens all, or tries that again later; each writes in the background from now on."""
        for tier in self.tiers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_PATIENCE):
                    await tier.start()
            self._storing.append(asyncio.get_running_loop().create_task(tier.store(self._ttl)))

    async def find(self, key: bytes) -> Found | None:
        """The answer of the first tier that has it; tiers above that one keep it, too."""
        purges = self._purges
        for place, tier in enumerate(self.tiers):
            found = await tier.find(key, self._ttl())
            if purges != self._purges:
                return None
            if found is not None:
                for above in self.tiers[:place]:
                    above.keep(key, found.answer, age=found.age)
                return Found(found.answer, found.age, tier.name)
        return None

    def keep(self, key: bytes, answer: Answer) -> None:
        """In all tiers, soon."""
        for tier in self.tiers:
            tier.keep(key, answer)

    async def purge(self, artifact: str | None) -> dict[str, int | None]:
        """Deletes the answers of one artifact, None: of the model. By tier how many, None where it could not."""
        self._purges += 1
        counts = {tier.name: await self._purged(tier, artifact) for tier in self.tiers}
        self._purges += 1
        return counts

    async def _purged(self, tier: Tier, artifact: str | None) -> int | None:
        try:
            async with asyncio.timeout(PURGE_PATIENCE):
                await tier.flush()
                return await tier.purge(artifact)
        except tier.errors:
            return None

    async def note(self, name: str, content: bytes) -> None:
        """Keeps a small document in every tier that works."""
        for tier in self.tiers:
            with contextlib.suppress(*tier.errors):
                async with asyncio.timeout(1.0):
                    await tier.note(name, content)

    async def noted(self, name: str) -> list[bytes]:
        """What each tier has under this name."""
        found = []
        for tier in self.tiers:
            with contextlib.suppress(*tier.errors):
                async with asyncio.timeout(1.0):
                    content = await tier.noted(name)
                    found += [content] if content is not None else []
        return found

    async def close(self) -> None:
        """Writes what waits, for a second at most, and closes all."""
        for tier, task in zip(self.tiers, self._storing, strict=False):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await tier.flush()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await tier.close()
