"""The way of a request: memory, other tiers, then one of the few places in the model; the same for gRPC and REST.

Simultaneous equal requests share one call. A call that has begun is finished even if its client goes away: the model
cannot be stopped, so its place stays taken, and the answer is kept for the next.
"""

from __future__ import annotations

import asyncio
import time

import cachebox

from modelpress.api.tunables import Tunables
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.availability import Availability
from modelpress.sidecar.key import Identity, Level1
from modelpress.sidecar.limiter import Limiter, Rules
from modelpress.sidecar.measures import Measures, Protocol
from modelpress.sidecar.memory import Cause, Memory
from modelpress.sidecar.popular import EVERY, Popular
from modelpress.sidecar.question import Fetched, Question, Reply
from modelpress.sidecar.reason import Bypass, Refusal, Refused, Uncacheable
from modelpress.sidecar.rollout.route import Rollout
from modelpress.sidecar.tiers.stack import Stack

_MEMO_SHARE = 8
_MEMO_ENTRY = 256


class Pipeline:
    """All requests of one sidecar pass here."""

    def __init__(
        self,
        identity: Identity,
        tunables: Tunables,
        availability: Availability,
        *,
        deterministic: bool,
        lower: Stack | None = None,
    ) -> None:
        self.identity = identity
        self.availability = availability
        self.deterministic = deterministic
        self.measures = Measures()
        size, cache = tunables.cache.memory_bytes, tunables.cache
        self.memory: Memory[Answer] = Memory(
            size=size - size // _MEMO_SHARE,
            ttl=cache.ttl_seconds,
            policy=cache.policy,
            clock=time.monotonic,
            entries=cache.memory_entries,
        )
        self.lower = lower if lower is not None else Stack((), ttl=lambda: self.tunables.cache.ttl_seconds)
        """Tiers below memory."""
        self.popular = Popular() if self.lower else None
        """What a new revision should ask first; only where a tier can hand it over."""
        self.resting = False
        """Mode Auto: whether the cache costs more than it saves for now."""
        self._memo = _memo(size)
        self.limiter = Limiter(_rules(tunables), now=asyncio.get_running_loop().time())
        self.rollout = Rollout(identity.artifact)
        self._configure_rollout(tunables)
        self.tunables = tunables
        self._standing: Bypass | None = None
        self.rest(resting=False)
        self._flights: dict[bytes, asyncio.Future[Answer | None]] = {}
        self._epoch = 0
        """Raised when answers are forgotten: what was asked or looked for before is not kept after."""
        self.pending = 0
        """Calls that are in the model or on the way to it, also those whose client has gone."""
        self._level1: dict[tuple[int, str], Level1] = {}

    def configure(self, tunables: Tunables) -> None:
        """New tunables, for those who wait in line as well."""
        cache = tunables.cache
        size = cache.memory_bytes
        if size != self.tunables.cache.memory_bytes:
            self._memo = _memo(size)
        self.tunables = tunables
        self.memory.reconfigure(
            size=size - size // _MEMO_SHARE, ttl=cache.ttl_seconds, policy=cache.policy, entries=cache.memory_entries
        )
        self.rest(resting=self.resting and cache.mode == "Auto")
        if cache.mode == "Disabled":
            self.memory.clear()
        self.limiter.configure(_rules(tunables), now=asyncio.get_running_loop().time())
        self._configure_rollout(tunables)

    def rest(self, *, resting: bool) -> None:
        """Mode Auto: requests go past the cache until it is told otherwise."""
        self.resting = resting
        self._standing = None
        if self.tunables.cache.mode == "Disabled":
            self._standing = Bypass.CACHE_DISABLED
        elif not self.deterministic:
            self._standing = Bypass.NOT_DETERMINISTIC
        elif resting:
            self._standing = Bypass.NOT_EFFECTIVE

    def forget(self, cause: Cause) -> int:
        """Empties the memory; the number of answers that were there. What is on its way to it is not kept either."""
        self._epoch += 1
        return self.memory.clear(cause)

    async def answer(self, question: Question, counts: Protocol) -> Answer:
        """From memory or from upstream; raises Refused. Counts exactly one outcome."""
        try:
            if self.rollout.active:
                return await self.rollout.answer(question, counts, self._answer)
            return await self._answer(question, counts)
        except Refused as refused:
            counts.refused[refused.reason] += 1
            raise

    async def _answer(self, question: Question, counts: Protocol) -> Answer:
        version = self.availability.version
        reason = question.bypass or self._standing
        if reason is not None or version is None:
            return await self._forward(question, counts, reason or Bypass.VERSION_UNKNOWN)
        key = self._key(question, version)
        if isinstance(key, Bypass):
            return await self._forward(question, counts, key)
        found = self.memory.get(key)
        if found is not None:
            counts.hits += 1
            if not counts.hits & (EVERY - 1) and self.popular is not None:
                self._note(self.popular, key, question)
            return found
        flight = self._flights.get(key)
        if flight is not None:
            shared = await _share(flight, question.deadline, counts)
            if shared is not None:
                counts.coalesced += 1
                return shared
        return await self._miss(question, counts, key, version)

    def _configure_rollout(self, tunables: Tunables) -> None:
        self.rollout.configure(tunables.rollout, timeout=tunables.request_timeout_seconds)

    def _note(self, popular: Popular, key: bytes, question: Question) -> None:
        if not popular.knows(key) and (asked := question.asked()) is not None:
            popular.add(key, asked)

    async def prefetch(self, question: Question) -> Fetched:
        """Asks the model before anybody else does, if it is idle; whoever asks the same meanwhile shares the call."""
        version = self.availability.version
        if (question.bypass or self._standing) is not None or version is None:
            return Fetched.UNSUITABLE
        key = self._key(question, version)
        if isinstance(key, Bypass):
            return Fetched.UNSUITABLE
        if key in self._flights or self.memory.get(key) is not None or await self._below(key) is not None:
            return Fetched.KNOWN
        if key in self._flights or self.limiter.in_flight or not self.limiter.take():
            return Fetched.BUSY
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        await self._call(question, key, version, flight)
        return Fetched.ANSWERED if flight.result() is not None else Fetched.FAILED

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
            if flight is not None and self.lower:
                found = await self._looked_below(key, counts)
                if found is not None:
                    self._land(key, flight, found)
                    return found
            await self._enter(question, counts)
        except BaseException:
            self._land(key, flight, None)
            raise
        counts.misses += 1
        return await self._call(question, key, version, flight)

    async def _looked_below(self, key: bytes, counts: Protocol) -> Answer | None:
        try:
            found = await self._below(key)
        except asyncio.CancelledError:
            counts.refused[Refusal.CLIENT_GONE] += 1
            raise
        if found is None:
            return None
        answer, tier = found
        counts.hits += 1
        counts.hits_below[tier] += 1
        return answer

    async def _below(self, key: bytes) -> tuple[Answer, str] | None:
        """An answer from a tier below memory, and the tier's name; in memory, too, from now on."""
        epoch = self._epoch
        found = await self.lower.find(key) if self.lower else None
        if found is None or epoch != self._epoch:
            return None
        self.memory.put(key, found.answer, len(found.answer.body), age=found.age)
        return found.answer, found.tier

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
        """Asks the model; who is cancelled here leaves the call to itself."""
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        started, epoch = time.perf_counter(), self._epoch
        self.pending += 1

        def done(reply: Reply | None, error: BaseException | None) -> None:
            self.pending -= 1
            took = time.perf_counter() - started
            self.measures.upstream_seconds.observe(took)
            if question.runs_model:
                self.limiter.release(took, failed=reply is None or not reply.answer.succeeded)
            if key is not None:
                kept = reply.kept if reply is not None else None
                if epoch == self._epoch:
                    self._keep(key, version, kept)
                self._land(key, flight, kept)
            if waiting.done():
                return
            if reply is None:
                waiting.set_exception(error or asyncio.CancelledError())
            else:
                waiting.set_result(reply.answer)

        try:
            question.begin(version, done)
        except BaseException as error:
            waiting.cancel()
            done(None, error)
            raise
        return await waiting

    def _keep(self, key: bytes, version: int | None, kept: Answer | None) -> None:
        """Remembers an answer, unless the version or the mode has changed meanwhile."""
        if kept is None or version != self.availability.version or self.tunables.cache.mode == "Disabled":
            return
        started = time.perf_counter()
        self.memory.put(key, kept, len(kept.body))
        self.lower.keep(key, kept)
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
