"""What is done for the cache beside the requests: every second, on demand, and when a pod comes or goes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from modelpress.sidecar import popular
from modelpress.sidecar.effectiveness import Effectiveness, Totals
from modelpress.sidecar.memory import Cause
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.popular import Asked, Popular
from modelpress.sidecar.prefetch import Prefetch
from modelpress.sidecar.question import Question

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds."""
HAND_OVER_PERIOD = 30.0
"""Seconds between two times that the most popular questions are kept for the next revision."""


class Condition(NamedTuple):
    """Whether the cache does any good, in the form of a Kubernetes condition."""

    status: str
    reason: str
    message: str


class Upkeep:
    """Belongs to one pipeline."""

    def __init__(
        self, pipeline: Pipeline, question: Callable[[Asked], Question], *, now: float, prefetch_file: Path | None
    ) -> None:
        self._pipeline = pipeline
        self._prefetch_file = prefetch_file
        self.effectiveness = Effectiveness(now=now)
        self.prefetch = Prefetch(pipeline, question)
        self._version: int | None = None
        self._mode = pipeline.tunables.cache.mode
        self._handed_over = now
        self._handed: list[Asked] = []
        """What was popular before us, and is until more is known."""

    async def run(self) -> None:
        """Runs until cancelled."""
        prefetching = asyncio.get_running_loop().create_task(self._prefetched())
        try:
            while True:
                await asyncio.sleep(PERIOD)
                now = time.monotonic()
                self.tick(now)
                if now - self._handed_over >= HAND_OVER_PERIOD:
                    await self.hand_over(now)
                if prefetching.done():
                    prefetching.result()
        finally:
            prefetching.cancel()
            await asyncio.gather(prefetching, return_exceptions=True)

    def tick(self, now: float) -> None:
        """Looks at the version, the hit ratio, and whether the cache pays; `now` in seconds."""
        self._pipeline.measures.remember(now)
        self._look_at_version()
        self._look_at_cost(now)

    async def hand_over(self, now: float) -> None:
        """Keeps the most popular questions where the next revision finds them."""
        self._handed_over = now
        asked = self._pipeline.popular
        if asked is None or not asked:
            return
        self._handed = popular.chosen([*asked.top(), *self._handed])
        content = popular.encode(self._pipeline.identity.model, self._handed, now=time.time())
        await self._pipeline.lower.note(popular.NOTE, content)
        asked.fade()

    async def purge(self, digest: str | None) -> dict[str, int | None]:
        """Forgets the answers of one artifact, None: of the model. By tier how many; None where that failed."""
        pipeline = self._pipeline
        ours = digest in (None, pipeline.identity.artifact)
        counts: dict[str, int | None] = {"memory": pipeline.forget(Cause.PURGE) if ours else 0}
        counts |= await pipeline.lower.purge(digest)
        if ours:
            pipeline.forget(Cause.PURGE)  # what was found below meanwhile
            self._handed = []
            if pipeline.popular is not None:
                pipeline.popular = Popular()
            await pipeline.lower.note(popular.NOTE, b"")  # what was asked is as secret as the answers
        log.info("Purged %s: %s", digest or "all answers of the model", counts)
        return counts

    def condition(self) -> Condition:
        """What the operator tells as CacheEffective."""
        cache, found = self._pipeline.tunables.cache, self.effectiveness.verdict
        if cache.mode == "Disabled":
            return Condition("False", "Disabled", "spec.cache.mode is Disabled.")
        if not self._pipeline.deterministic:
            return Condition("False", "NotDeterministic", "Equal requests get different answers, so none is kept.")
        if found is None:
            return Condition("Unknown", "NotMeasured", "Too few requests have come to tell.")
        if found.pays:
            return Condition("True", "Effective", f"The cache pays: {found}.")
        return Condition("False", "CostsMoreThanItSaves", f"The cache does not pay: {found}.")

    def state(self, now: float) -> dict[str, Any]:
        """As /state shows it."""
        progress = self.prefetch.progress
        return {
            "effective": self.condition()._asdict(),
            "restsForSeconds": round(self.effectiveness.rests_for(now), 1),
            "switchedOff": self.effectiveness.switches,
            "prefetch": {
                "phase": progress.phase,
                "total": progress.total,
                "answered": progress.answered,
                "known": progress.known,
                "unsuitable": progress.unsuitable,
                "failed": progress.failed,
                "leftOut": progress.left_out,
            },
        }

    async def _prefetched(self) -> None:
        pipeline = self._pipeline
        model, handed = pipeline.identity.model, list[Asked]()
        for content in await pipeline.lower.noted(popular.NOTE):
            handed += popular.decode(model, content, now=time.time())
        self._handed = popular.chosen(handed)
        await self.prefetch.run(self._prefetch_file, self._handed)

    def _look_at_version(self) -> None:
        """Answers of another version are never found again: they only take space."""
        version = self._pipeline.availability.version
        if version is None or version == self._version:
            return
        if self._version is not None:
            self._pipeline.forget(Cause.VERSION)
        self._version = version

    def _look_at_cost(self, now: float) -> None:
        pipeline, found = self._pipeline, self.effectiveness
        mode, totals = pipeline.tunables.cache.mode, self._totals()
        if mode != self._mode:
            self._mode = mode
            found.reset(totals, now)
        elif found.look(totals, now) and mode == "Auto":
            before = pipeline.resting
            if found.resting and not before:
                log.info("The cache is switched off for %.0f s: %s", found.rests_for(now), found.verdict)
            elif before and not found.resting:
                log.info("The cache is tried again")
        pipeline.rest(resting=found.resting and mode == "Auto")

    def _totals(self) -> Totals:
        measures = self._pipeline.measures
        protocols = (measures.grpc, measures.rest)
        saved = sum(counts.hits + counts.coalesced for counts in protocols)
        spent = [measures.key_seconds, measures.lookup_seconds, measures.insert_seconds]
        spent += [tier.seconds for tier in self._pipeline.lower.tiers]
        return Totals(
            requests=saved + sum(counts.misses for counts in protocols),
            saved=saved,
            cost=sum(distribution.total for distribution in spent),
            calls=measures.upstream_seconds.count,
            upstream=measures.upstream_seconds.total,
        )
