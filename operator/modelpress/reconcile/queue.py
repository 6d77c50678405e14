"""The work queue: keys that want a look, each at most once, none twice at a time, failures ever later.

`Schedule` is the pure core, with time as an argument; `Queue` adds waiting.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from modelpress.telemetry import metrics

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 300.0
JITTER = 0.2
"""Delays are shortened by up to this share, so that keys that failed together do not come back together."""


class Key(NamedTuple):
    """The name of one object to reconcile."""

    kind: str
    namespace: str
    name: str


class Schedule:
    """When each key is due; a key under way is held back until `done`. Times are seconds on the caller's clock."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._under_way: dict[Key, float] = {}
        self._again: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key, now: float, delay: float = 0.0) -> None:
        """Want a look at a key after a delay; of several wishes the soonest counts."""
        due = now + delay
        wishes = self._again if key in self._under_way else self._due
        if key in wishes and wishes[key] <= due:
            return
        wishes[key] = due
        if wishes is self._due:
            heapq.heappush(self._heap, (due, next(self._order), key))

    def take(self, now: float) -> tuple[Key, float] | None:
        """A key that is due, and how long it has been; the caller owes `done`. None: nothing is due."""
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:  # else a sooner wish has overtaken this entry
                del self._due[key]
                self._under_way[key] = now
                return key, now - due
        return None

    def done(self, key: Key) -> None:
        """The look is over; wishes that came meanwhile now count."""
        del self._under_way[key]
        if key in self._again:
            self.add(key, self._again.pop(key))

    def retry(self, key: Key, now: float, at_least: float = 0.0) -> float:
        """Want another look after a failure, twice as late each time up to five minutes; returns the delay."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 30))
        delay = max(at_least, delay * (1 - JITTER * self._jitter()))
        self.add(key, now, delay)
        return delay

    def forget(self, key: Key) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)

    def jittered(self, seconds: float) -> float:
        """A little less than these seconds."""
        return seconds * (1 - JITTER * self._jitter())

    def next_due(self) -> float | None:
        """When a key will be due, or None while none is wanted."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def waiting(self, now: float) -> int:
        """How many keys are due."""
        return sum(due <= now for due in self._due.values())

    def oldest(self) -> float | None:
        """When the longest look under way began, or None."""
        return min(self._under_way.values(), default=None)


class Queue:
    """The schedule, with waiting; for one event loop."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._schedule = Schedule(jitter)
        self._sleepers: set[asyncio.Future[None]] = set()
        self.last_progress = clock()
        """When a key was last taken or finished."""

    def add(self, key: Key) -> None:
        """Want a look at a key now."""
        metrics.QUEUE_ADDS.inc()
        self._wish(key, 0.0)

    def add_after(self, key: Key, seconds: float) -> None:
        """Want a look at a key later; a sooner wish stays."""
        self._wish(key, seconds)

    def recheck(self, key: Key, seconds: float) -> None:
        """As `add_after`, a little sooner by chance, so that keys spread."""
        self._wish(key, self._schedule.jittered(seconds))

    def retry(self, key: Key, at_least: float = 0.0) -> float:
        """Want another look after a failure; returns the delay in seconds."""
        metrics.QUEUE_RETRIES.inc()
        delay = self._schedule.retry(key, self._clock(), at_least)
        self._wake()
        return delay

    def forget(self, key: Key) -> None:
        """Forget the failures of a key."""
        self._schedule.forget(key)

    async def take(self) -> Key:
        """Wait for a key that is due; the caller owes `done`."""
        while True:
            now = self._clock()
            if found := self._schedule.take(now):
                key, waited = found
                metrics.QUEUE_SECONDS.observe(waited)
                self.last_progress = now
                return key
            await self._sleep(self._schedule.next_due(), now)

    def done(self, key: Key) -> None:
        """The look at a key is over."""
        self._schedule.done(key)
        self.last_progress = self._clock()
        self._wake()

    def depth(self) -> int:
        """How many keys wait for a worker."""
        return self._schedule.waiting(self._clock())

    def longest_seconds(self) -> float:
        """Age of the longest look under way; 0 if none is."""
        oldest = self._schedule.oldest()
        return 0.0 if oldest is None else self._clock() - oldest

    def _wish(self, key: Key, seconds: float) -> None:
        self._schedule.add(key, self._clock(), seconds)
        self._wake()

    def _wake(self) -> None:
        for sleeper in self._sleepers:
            _end(sleeper)

    async def _sleep(self, until: float | None, now: float) -> None:
        """Until something changes, or a key is due."""
        loop = asyncio.get_running_loop()
        sleeper = loop.create_future()
        timer = None if until is None else loop.call_later(max(0.0, until - now), _end, sleeper)
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            self._sleepers.discard(sleeper)
            if timer:
                timer.cancel()


def _end(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
