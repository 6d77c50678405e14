"""Asks the sidecars of every model with cache mode Auto how the cache does, and wants a look when the verdict moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import NamedTuple

from modelpress.api.base import KIND
from modelpress.kube import states
from modelpress.kube.cache import Cache
from modelpress.kube.kinds import POD, Manifest
from modelpress.kube.states import Ask
from modelpress.manifests import labels, serving
from modelpress.reconcile.queue import Key, Queue
from modelpress.status import cache_effect
from modelpress.status.cache_effect import Course, Effect

PERIOD_SECONDS = 60.0
JITTER = 0.1
MOST_PODS = 5
"""Asked of one model; the others do alike."""


class _Served(NamedTuple):
    """A model that is asked about, and where."""

    key: Key
    uid: str
    digest: str
    addresses: tuple[str, ...]
    known: Effect | None
    """The verdict in its status."""


class Readings:
    """The courses of all models, kept by the leader only; another leader begins at what the status says."""

    def __init__(
        self, cache: Cache, queue: Queue, *, period_seconds: float = PERIOD_SECONDS, port: int = serving.ADMIN
    ) -> None:
        self._cache, self._queue, self._period, self._port = cache, queue, period_seconds, port
        self._courses: dict[tuple[Key, str], Course] = {}

    def settled(self, key: Key, uid: str) -> Effect | None:
        """The verdict on the cache of a model; None where nothing is known beside its status."""
        course = self._courses.get((key, uid))
        return course.settled if course else None

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(self._period * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311
            async with states.asking() as ask:
                await self.sweep(ask)

    async def sweep(self, ask: Ask) -> None:
        """One reading of every model."""
        found = list(self._served())
        self._courses = {place: self._courses[place] for one in found if (place := (one.key, one.uid)) in self._courses}
        await asyncio.gather(*(self._read(one, ask) for one in found))

    async def _read(self, served: _Served, ask: Ask) -> None:
        answers = await asyncio.gather(*(ask(address, self._port) for address in served.addresses))
        said = cache_effect.together([cache_effect.read(answer, served.digest) for answer in answers])
        place = (served.key, served.uid)
        before = self._courses.get(place) or Course(served.known)
        after = self._courses[place] = before.after(said)
        if after.settled is not None and not after.settled.agrees_with(before.settled):
            self._queue.add(served.key)

    def _served(self) -> Iterator[_Served]:
        for live in self._cache.all(KIND):
            metadata, status = live["metadata"], live.get("status") or {}
            digest = (status.get("current") or {}).get("digest")
            condition = _condition(status)
            if metadata.get("deletionTimestamp") or digest is None or not _is_judged(live, condition.get("reason")):
                continue
            known = cache_effect.known(condition.get("reason"), condition.get("message", ""))
            key = Key(KIND, metadata["namespace"], metadata["name"])
            yield _Served(key, metadata["uid"], digest, tuple(self._addresses(key)), known)

    def _addresses(self, key: Key) -> list[str]:
        pods = self._cache.labelled(key.namespace, key.name, POD.kind)
        return [str(pod["status"]["podIP"]) for pod in pods if _is_serving(pod)][:MOST_PODS]


def _condition(status: Manifest) -> Manifest:
    return next((one for one in status.get("conditions") or () if one["type"] == cache_effect.TYPE), {})


def _is_judged(live: Manifest, reason: str | None) -> bool:
    """Only with mode Auto, and where answers may be kept at all."""
    mode = (live["spec"].get("cache") or {}).get("mode") or "Auto"
    return mode == "Auto" and reason != cache_effect.NOT_DETERMINISTIC


def _is_serving(pod: Manifest) -> bool:
    """A ready pod of the current revision."""
    status, metadata = pod.get("status") or {}, pod["metadata"]
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ())
    is_current = (metadata.get("labels") or {}).get(labels.ROLE_LABEL) == "current"
    return bool(ready and is_current and status.get("podIP") and not metadata.get("deletionTimestamp"))
