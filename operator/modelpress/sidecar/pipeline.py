"""The way of a request: memory, then one of the few places in the model; the same for gRPC and REST.

Simultaneous equal requests share one call. A call that has begun is finished even if its client goes away: the model
cannot be stopped, so its place stays taken, and the answer is kept for the next.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import NamedTuple

import cachebox

from modelpress.api.tunables import Tunables
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.availability import Availability
from modelpress.sidecar.key import Identity, Level1
from modelpress.sidecar.limiter import Limiter, Rules, never_gone
from modelpress.sidecar.measures import Measures, Protocol
from modelpress.sidecar.memory import Memory
from modelpress.sidecar.reason import Bypass, Refusal, Refused, Uncacheable

_MEMO_SHARE = 8
_MEMO_ENTRY = 256


class Reply(NamedTuple):
    """What upstream said. `kept` is the form to be kept, None where the answer must not be."""

    answer: Answer
    kept: Answer | None = None


class Question(ABC):
    """A request that has been read."""

    method: str
    """Part of the key, e.g. `grpc/Predict`."""
    context: bytes = b""
    """What the answer depends on beside the method and the body, as it was sent."""
    chunks: list[bytes]
    runs_model = True
    """False for status and metadata, which never wait in line."""
    bypass: Bypass | None = None
    """Why this request is not for the cache, where its head already tells."""

    @property
    @abstractmethod
    def deadline(self) -> float:
        """On the loop's clock."""

    @abstractmethod
    def canonical(self, version: int) -> bytes:
        """The canonical key where `version` answers; raises Uncacheable."""

    @abstractmethod
    async def ask(self, version: int | None) -> Reply:
        """The answer of the model server; failures on the way are answers too. None: whichever version answers."""

    def gone(self) -> bool:
        """Whether the client no longer waits, where its going is not told by cancellation."""
        return never_gone()


class Pipeline:
    """All requests of one sidecar pass here."""

    def __init__(
        self, identity: Identity, tunables: Tunables, availability: Availability, *, deterministic: bool
    ) -> None:
        self.identity = identity
        self.availability = availability
        self.deterministic = deterministic
        self.measures = Measures()
        size, cache = tunables.cache.memory_bytes, tunables.cache
        self.memory: Memory[Answer] = Memory(
            size=size - size // _MEMO_SHARE, ttl=cache.ttl_seconds, policy=cache.policy, clock=time.monotonic
        )
        self._memo = _memo(size)
        self.limiter = Limiter(_rules(tunables), now=asyncio.get_running_loop().time())
        self.tunables = tunables
        self._flights: dict[bytes, asyncio.Future[Answer | None]] = {}
        self._calls: set[asyncio.Task[Answer]] = set()
        self._level1: dict[tuple[int, str], Level1] = {}

    def configure(self, tunables: Tunables) -> None:
        """New tunables, for those who wait in line as well."""
        cache = tunables.cache
        size = cache.memory_bytes
        if size != self.tunables.cache.memory_bytes:
            self._memo = _memo(size)
        self.tunables = tunables
        self.memory.reconfigure(size=size - size // _MEMO_SHARE, ttl=cache.ttl_seconds, policy=cache.policy)
        if cache.mode == "Disabled":
            self.memory.clear()
        self.limiter.configure(_rules(tunables), now=asyncio.get_running_loop().time())

    @property
    def pending(self) -> int:
        """Calls that are in the model or on the way to it, also those whose client has gone."""
        return len(self._calls)

    async def answer(self, question: Question, counts: Protocol) -> Answer:
        """From memory or from upstream; raises Refused. Counts exactly one outcome."""
        try:
            return await self._answer(question, counts)
        except Refused as refused:
            counts.refused[refused.reason] += 1
            raise

    async def _answer(self, question: Question, counts: Protocol) -> Answer:
        version = self.availability.version
        reason = question.bypass or self._bypass(version)
        if reason is not None or version is None:
            return await self._forward(question, counts, reason or Bypass.VERSION_UNKNOWN)
        key = self._key(question, version)
        if isinstance(key, Bypass):
            return await self._forward(question, counts, key)
        found = self.memory.get(key)
        if found is not None:
            counts.hits += 1
            return found
        flight = self._flights.get(key)
        if flight is not None:
            shared = await _share(flight, question.deadline, counts)
            if shared is not None:
                counts.coalesced += 1
                return shared
        return await self._miss(question, counts, key, version)

    def _bypass(self, version: int | None) -> Bypass | None:
        if self.tunables.cache.mode == "Disabled":
            return Bypass.CACHE_DISABLED
        if not self.deterministic:
            return Bypass.NOT_DETERMINISTIC
        return Bypass.VERSION_UNKNOWN if version is None else None

    def _key(self, question: Question, version: int) -> bytes | Bypass:
        """The canonical key by the memo of raw bytes, else made and remembered."""
        started = time.perf_counter()
        level1 = self._level1.get((version, question.method))
        if level1 is None:
            level1 = self._level1[version, question.method] = Level1(self.identity, version, question.method)
        raw = level1.digest(question.context, question.chunks)
        key = self._memo.get(raw)
        middle = time.perf_counter()
        self.measures.lookup_seconds.observe(middle - started)
        if key is None:
            try:
                key = question.canonical(version)
            except Uncacheable as uncacheable:
                key = uncacheable.reason
            self._memo.insert(raw, key)
            self.measures.key_seconds.observe(time.perf_counter() - middle)
        return key

    async def _forward(self, question: Question, counts: Protocol, reason: Bypass) -> Answer:
        if question.runs_model:
            await self._enter(question, counts)
        counts.bypassed[reason] += 1
        return await self._call(question, None, None, None)

    async def _miss(self, question: Question, counts: Protocol, key: bytes, version: int) -> Answer:
        flight: asyncio.Future[Answer | None] | None = None
        if key not in self._flights:
            flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            await self._enter(question, counts)
        except BaseException:
            self._land(key, flight, None)
            raise
        counts.misses += 1
        return await self._call(question, key, version, flight)

    async def _enter(self, question: Question, counts: Protocol) -> None:
        """A place in the model, perhaps after waiting in line."""
        if question.deadline <= asyncio.get_running_loop().time():
            raise Refused(Refusal.DEADLINE, "Deadline Exceeded before the request reached the model")
        if self.limiter.take():
            self.measures.queue_seconds.observe(0.0)
            return
        started = time.perf_counter()
        try:
            await self.limiter.acquire(question.deadline, question.gone)
        except asyncio.CancelledError:
            counts.refused[Refusal.CLIENT_GONE] += 1
            raise
        finally:
            self.measures.queue_seconds.observe(time.perf_counter() - started)

    async def _call(
        self, question: Question, key: bytes | None, version: int | None, flight: asyncio.Future[Answer | None] | None
    ) -> Answer:
        call = asyncio.get_running_loop().create_task(self._upstream(question, key, version, flight))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await asyncio.shield(call)

    async def _upstream(
        self, question: Question, key: bytes | None, version: int | None, flight: asyncio.Future[Answer | None] | None
    ) -> Answer:
        started = time.perf_counter()
        answer: Answer | None = None
        kept: Answer | None = None
        try:
            answer, kept = await question.ask(version)
        finally:
            took = time.perf_counter() - started
            self.measures.upstream_seconds.observe(took)
            if question.runs_model:
                self.limiter.release(took, failed=answer is None or not answer.succeeded)
            if key is not None:
                self._keep(key, version, kept)
                self._land(key, flight, kept)
        return answer

    def _keep(self, key: bytes, version: int | None, kept: Answer | None) -> None:
        """Remembers an answer, unless the version or the mode has changed meanwhile."""
        if kept is None or version != self.availability.version or self.tunables.cache.mode == "Disabled":
            return
        started = time.perf_counter()
        self.memory.put(key, kept, len(kept.body))
        self.measures.insert_seconds.observe(time.perf_counter() - started)

    def _land(self, key: bytes, flight: asyncio.Future[Answer | None] | None, kept: Answer | None) -> None:
        """Ends the waiting of those who share a call; without an answer to share each asks for itself."""
        if flight is None:
            return
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.done():
            flight.set_result(kept)


async def _share(flight: asyncio.Future[Answer | None], deadline: float, counts: Protocol) -> Answer | None:
    """The answer to somebody else's equal question, None where there is none to share."""
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.shield(flight)
    except TimeoutError as error:
        raise Refused(Refusal.DEADLINE, "Deadline Exceeded while an equal request was in the model") from error
    except asyncio.CancelledError:
        counts.refused[Refusal.CLIENT_GONE] += 1
        raise


def _memo(size: int) -> cachebox.LRUCache[bytes, bytes | Bypass]:
    return cachebox.LRUCache(max(size // _MEMO_SHARE // _MEMO_ENTRY, 16))


def _rules(tunables: Tunables) -> Rules:
    queue = tunables.concurrency
    least = (queue.min or 1) if queue.mode == "Elastic" else None
    return Rules(queue.limit, queue.queue_depth, queue.queue_timeout_seconds, least)
