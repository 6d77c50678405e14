"""What tiers below memory have in common: they never raise, never wait long, never answer what is not theirs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.measures import FAST, Distribution
from modelpress.sidecar.tiers import record
from modelpress.sidecar.tiers.breaker import Breaker
from modelpress.sidecar.tiers.record import Record, Spoiled

log = logging.getLogger(__name__)

LARGEST = 16 * 2**20
"""Bytes of an answer; larger ones stay in memory, where they cost no copy."""
PENDING = 32 * 2**20
"""Bytes of answers, what they cost beside their bodies included, that may wait to be written; others are dropped."""
OVERHEAD = 512
"""Bytes that an answer costs while it waits: key, tuples, objects."""
BATCH = 128
PURGE_PATIENCE = 30.0
"""Seconds."""


class Event(StrEnum):
    """What became of a lookup or of an answer to be kept: the `event` label of the metrics."""

    HIT = "hit"
    MISS = "miss"
    EXPIRED = "expired"
    SPOILED = "spoiled"
    """Torn, truncated, poisoned, or of another format: taken as absent, and deleted."""
    TIMEOUT = "timeout"
    ERROR = "error"
    SKIPPED = "skipped"
    """Not looked up: the circuit breaker is open."""
    STORED = "stored"
    DROPPED = "dropped"
    """Not stored: too large, or too many were waiting."""
    FULL = "full"
    """Not stored: no space left, even after making room."""


class Kept(NamedTuple):
    """An answer on its way into a tier."""

    key: bytes
    record: bytes


def _size(answer: Answer) -> int:
    return OVERHEAD + len(answer.body) + sum(len(name) + len(value) for name, value in answer.headers)


class Tier(ABC):
    """A slow store behind a timeout, a circuit breaker and a queue of writes. `now` gives Unix seconds."""

    name: str
    errors: tuple[type[Exception], ...] = (OSError,)
    """What the store raises (TimeoutError is an OSError); everything else is a bug and surfaces."""

    def __init__(self, *, patience: float, now: Callable[[], float] = time.time) -> None:
        self._patience = patience
        self._now = now
        self._breaker = Breaker()
        self._waiting: list[tuple[bytes, Answer, float]] = []
        self._pending = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._probe: asyncio.Task[None] | None = None
        self._told: set[str] = set()
        self.events: Counter[Event] = Counter()
        self.seconds = Distribution(FAST)
        """Of lookups, those that failed included."""

    @abstractmethod
    async def start(self) -> None:
        """Opens files or connections; a store that cannot be opened is tried again later."""

    @abstractmethod
    async def read(self, key: bytes) -> bytes | None:
        """The record; None where there is none."""

    @abstractmethod
    async def write(self, batch: Sequence[Kept], ttl: float) -> int:
        """Stores records for at most `ttl` seconds and returns how many; the others did not fit."""

    @abstractmethod
    async def discard(self, key: bytes) -> None:
        """Deletes one record."""

    @abstractmethod
    async def purge(self, artifact: str | None) -> int:
        """Deletes all answers of one artifact, None: of the model; how many there were."""

    @abstractmethod
    async def probe(self) -> None:
        """Raises one of `errors` while the store does not work."""

    @abstractmethod
    async def note(self, name: str, content: bytes) -> None:
        """Keeps a small document beside the answers."""

    @abstractmethod
    async def noted(self, name: str) -> bytes | None:
        """A document that was kept, perhaps by another process; None where there is none."""

    @abstractmethod
    async def close(self) -> None:
        """Lets go of files and connections."""

    @property
    def is_working(self) -> bool:
        """Whether it is asked at all."""
        return not self._breaker.is_open

    @property
    def opened(self) -> int:
        """Times that the circuit breaker has opened."""
        return self._breaker.opened

    async def find(self, key: bytes, ttl: float) -> Record | None:
        """A whole, young answer to exactly this question, else None; within the tier's patience."""
        if self._breaker.is_open:
            self.events[Event.SKIPPED] += 1
            self._look_again()
            return None
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._patience):
                found = await self.read(key)
        except TimeoutError:
            self._fail(Event.TIMEOUT, "no answer in time")
            return None
        except self.errors as error:
            self._fail(Event.ERROR, type(error).__name__)
            return None
        finally:
            self.seconds.observe(time.perf_counter() - started)
        self._breaker.succeed()
        return self._checked(key, found, ttl)

    def _checked(self, key: bytes, found: bytes | None, ttl: float) -> Record | None:
        if found is None:
            self.events[Event.MISS] += 1
            return None
        try:
            decoded = record.decode(key, found, now=self._now())
        except Spoiled:
            self.events[Event.SPOILED] += 1
            self._delete(key)
            return None
        if decoded.age > ttl:
            self.events[Event.EXPIRED] += 1
            self._delete(key)
            return None
        self.events[Event.HIT] += 1
        return decoded

    def keep(self, key: bytes, answer: Answer, *, age: float = 0.0) -> None:
        """Stores an answer that is `age` seconds old soon; never waits."""
        size = _size(answer)
        if len(answer.body) > LARGEST or self._pending + size > PENDING or self._breaker.is_open:
            self.events[Event.DROPPED] += 1
            return
        self._waiting.append((key, answer, self._now() - age))
        self._pending += size
        self._idle.clear()
        self._wake.set()

    async def store(self, ttl: Callable[[], float]) -> None:
        """Writes what waits to be written; runs until cancelled."""
        while True:
            await self._wake.wait()
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                try:
                    await self._write(
                        [Kept(key, record.encode(key, answer, born=born)) for key, answer, born in batch], ttl()
                    )
                except Exception:  # a fault of ours must not end all writing, nor be hushed up
                    log.exception("Answers could not be written to the %s tier of the cache", self.name)
                    self.events[Event.DROPPED] += len(batch)
                self._pending -= sum(_size(answer) for _, answer, _ in batch)
            self._wake.clear()
            self._idle.set()

    async def flush(self) -> None:
        """Until nothing waits to be written."""
        await self._idle.wait()

    async def _write(self, batch: list[Kept], ttl: float) -> None:
        try:
            async with asyncio.timeout(max(1.0, 10 * self._patience)):
                stored = await self.write(batch, ttl)
        except self.errors as error:
            self._fail(Event.ERROR, type(error).__name__)
            self.events[Event.DROPPED] += len(batch)
            return
        self.events[Event.STORED] += stored
        if stored < len(batch):
            if not self._told:
                self._tell_full("answers that do not fit are not kept")
            self.events[Event.FULL] += len(batch) - stored

    def _tell_full(self, consequence: str) -> None:
        """Once: a store that is full is so again and again."""
        if consequence not in self._told:
            self._told.add(consequence)
            log.warning("The %s tier of the cache has no space left; %s", self.name, consequence)

    def _fail(self, event: Event, what: str) -> None:
        """Only the kind of an error is told: its text may hold an address or a password."""
        self.events[event] += 1
        before = self._breaker.opened
        self._breaker.fail(time.monotonic())
        if self._breaker.opened > before:
            log.warning("The %s tier of the cache fails (%s); it is left alone until it works again", self.name, what)

    def _look_again(self) -> None:
        if self._probe is None and self._breaker.is_probe_due(time.monotonic()):
            self._probe = asyncio.get_running_loop().create_task(self._probed())

    async def _probed(self) -> None:
        try:
            async with asyncio.timeout(max(1.0, self._patience)):
                await self.probe()
        except self.errors:
            self._breaker.fail_probe(time.monotonic())
            return
        finally:
            self._probe = None
        self._breaker.succeed()
        log.info("The %s tier of the cache works again", self.name)

    def _delete(self, key: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._discarded(key))
        _BACKGROUND.add(task)
        task.add_done_callback(_BACKGROUND.discard)

    async def _discarded(self, key: bytes) -> None:
        with contextlib.suppress(*self.errors):
            async with asyncio.timeout(max(1.0, self._patience)):
                await self.discard(key)


_BACKGROUND: set[asyncio.Task[None]] = set()
"""Tasks that nobody waits for; without a reference they could be collected."""
