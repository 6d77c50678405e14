"""The way of a request: memory, other tiers, then one of the few places in the model; the same for gRPC and REST.

Simultaneous equal requests share one call. A call that has begun is finished even if its client goes away: the model
cannot be stopped, so its place stays taken, and the answer is kept for the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from typing import Any

from modelpress.api.tunables import Tunables
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.availability import Availability
from modelpress.sidecar.flight import Call, Flight
from modelpress.sidecar.key import Identity
from modelpress.sidecar.keys import SHARE, Keys
from modelpress.sidecar.limiter import Limiter, Rules
from modelpress.sidecar.measures import Measures, Protocol
from modelpress.sidecar.memory import Cause, Memory
from modelpress.sidecar.popular import EVERY, Popular
from modelpress.sidecar.question import Fetched, Question, Reply
from modelpress.sidecar.reason import Bypass, Refusal, Refused
from modelpress.sidecar.rollout.route import Rollout
from modelpress.sidecar.tiers.stack import Stack

_Begun = Answer | asyncio.Future[Answer] | Coroutine[Any, Any, Answer]


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
            size=size - size // SHARE,
            ttl=cache.ttl_seconds,
            policy=cache.policy,
            clock=time.monotonic,
            entries=cache.memory_entries,
        )
        self.lower = lower if lower is not None else Stack((), ttl=lambda: self.tunables.cache.ttl_seconds)
        """Tiers below memory."""
        self._tiered = bool(self.lower)
        self.popular = Popular() if self.lower else None
        """What a new revision should ask first; only where a tier can hand it over."""
        self.resting = False
        """Mode Auto: whether the cache costs more than it saves for now."""
        self.keys = Keys(identity, self.measures, size=size)
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self.limiter = Limiter(Rules.of(tunables.concurrency), now=self._now())
        self.rollout = Rollout(identity.artifact)
        self._configure_rollout(tunables)
        self.tunables = tunables
        self._standing: Bypass | None = None
        self.rest(resting=False)
        self._flights: dict[bytes, Flight] = {}
        self._epoch = 0
        """Raised when answers are forgotten: what was asked or looked for before is not kept after."""
        self.pending = 0
        """Calls that are in the model or on the way to it, also those whose client has gone."""

    def configure(self, tunables: Tunables) -> None:
        """New tunables, for those who wait in line as well."""
        cache = tunables.cache
        size = cache.memory_bytes
        if size != self.tunables.cache.memory_bytes:
            self.keys.resize(size)
        self.tunables = tunables
        self.memory.reconfigure(
            size=size - size // SHARE, ttl=cache.ttl_seconds, policy=cache.policy, entries=cache.memory_entries
        )
        self.rest(resting=self.resting and cache.mode == "Auto")
        if cache.mode == "Disabled":
            self.memory.clear()
        self.limiter.configure(Rules.of(tunables.concurrency), now=self._now())
        self._configure_rollout(tunables)

    @property
    def keeps(self) -> bool:
        """Whether answers are kept at all."""
        return self._standing is None

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
        self._flights.clear()  # who asks from now on does not share what was asked before
        return self.memory.clear(cause)

    def begin(self, question: Question, counts: Protocol) -> Answer | Awaitable[Answer]:
        """From memory, at once, or from upstream; raises Refused. Counts exactly one outcome."""
        if self.rollout.active:
            return _counted(self.rollout.answer(question, counts, self._whole), counts)
        begun = self._begin(question, counts)
        return begun if isinstance(begun, (Answer, asyncio.Future)) else _counted(begun, counts)

    async def _whole(self, question: Question, counts: Protocol) -> Answer:
        begun = self._begin(question, counts)
        return begun if isinstance(begun, Answer) else await begun

    def _begin(self, question: Question, counts: Protocol) -> _Begun:
        version = self.availability.version
        reason = question.bypass or self._standing
        if reason is not None or version is None:
            return self._bypass(question, counts, reason or Bypass.VERSION_UNKNOWN)
        key = self.keys.of(question, version)
        if isinstance(key, Bypass):
            return self._bypass(question, counts, key)
        found = self.memory.get(key)
        if found is not None:
            counts.hits += 1
            if not counts.hits & (EVERY - 1) and self.popular is not None:
                self._note(self.popular, key, question)
            return found
        if (other := self._flights.get(key)) is not None:
            return self._shared(question, counts, key, version, other)
        if self._tiered or question.deadline <= self._now() or not self.limiter.take():
            return self._miss(question, counts, key, version, self._take_off(key))
        self.measures.queue_seconds.counts[0] += 1  # no time at all
        counts.misses += 1
        return self._call(question, key, version, self._take_off(key))

    def _take_off(self, key: bytes) -> Flight | None:
        """Whoever asks the same from now on shares the answer; None where one is under way already."""
        if key in self._flights:
            return None
        flight = self._flights[key] = Flight()
        return flight

    async def _shared(self, question: Question, counts: Protocol, key: bytes, version: int, other: Flight) -> Answer:
        shared = await other.share(question.deadline, counts)
        if shared is not None:
            counts.coalesced += 1
            return shared
        return await self._miss(question, counts, key, version, self._take_off(key))

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
        key = self.keys.of(question, version)
        if isinstance(key, Bypass):
            return Fetched.UNSUITABLE
        if key in self._flights or self.memory.get(key) is not None or await self._below(key) is not None:
            return Fetched.KNOWN
        if key in self._flights or self.limiter.in_flight or not self.limiter.take():
            return Fetched.BUSY
        flight = self._flights[key] = Flight()
        await self._call(question, key, version, flight)
        return Fetched.ANSWERED if flight.kept is not None else Fetched.FAILED

    def _bypass(self, question: Question, counts: Protocol, reason: Bypass) -> _Begun:
        if question.runs_model and (question.deadline <= self._now() or not self.limiter.take()):
            return self._forward(question, counts, reason)
        if question.runs_model:
            self.measures.queue_seconds.counts[0] += 1  # no time at all
        counts.bypassed[reason] += 1
        return self._call(question, None, None, None)

    async def _forward(self, question: Question, counts: Protocol, reason: Bypass) -> Answer:
        await self._enter(question, counts)
        counts.bypassed[reason] += 1
        return await self._call(question, None, None, None)

    async def _miss(
        self, question: Question, counts: Protocol, key: bytes, version: int, flight: Flight | None
    ) -> Answer:
        try:
            if flight is not None and self._tiered:
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
        found = await self.lower.find(key) if self._tiered else None
        if found is None or epoch != self._epoch:
            return None
        self.memory.put(key, found.answer, len(found.answer.body), age=found.age)
        return found.answer, found.tier

    async def _enter(self, question: Question, counts: Protocol) -> None:
        """A place in the model, perhaps after waiting in line."""
        if question.deadline <= self._now():
            raise Refused(Refusal.DEADLINE, "Deadline Exceeded before the request reached the model")
        if self.limiter.take():
            self.measures.queue_seconds.observe(0.0)
            return
        started = time.perf_counter()
        try:
            await self.limiter.acquire(question.deadline)
        except asyncio.CancelledError:
            counts.refused[Refusal.CLIENT_GONE] += 1
            raise
        finally:
            self.measures.queue_seconds.observe(time.perf_counter() - started)

    def _call(
        self, question: Question, key: bytes | None, version: int | None, flight: Flight | None
    ) -> asyncio.Future[Answer]:
        """Asks the model; who is cancelled while waiting for it leaves the call to itself."""
        self.pending += 1
        call = Call(question, key, version, flight, loop=self._loop, epoch=self._epoch, account=self._account)
        return call.begin()

    def _account(self, call: Call, reply: Reply | None, took: float) -> None:
        """A call has ended: its place is free, and its answer is kept."""
        self.pending -= 1
        self.measures.upstream_seconds.observe(took)
        if call.question.runs_model:
            self.limiter.release(took, failed=reply is None or not reply.answer.succeeded)
        key = call.key
        if key is not None:
            kept = None if reply is None else reply.kept
            if call.epoch == self._epoch:
                self._keep(key, call.version, kept)
            self._land(key, call.flight, kept)

    def _keep(self, key: bytes, version: int | None, kept: Answer | None) -> None:
        """Remembers an answer, unless the version or the mode has changed meanwhile."""
        if kept is None or version != self.availability.version or self.tunables.cache.mode == "Disabled":
            return
        started = time.perf_counter()
        self.memory.put(key, kept, len(kept.body))
        if self._tiered:
            self.lower.keep(key, kept)
        self.measures.insert_seconds.observe(time.perf_counter() - started)

    def _land(self, key: bytes, flight: Flight | None, kept: Answer | None) -> None:
        """Ends the waiting of those who share a call; without an answer to share each asks for itself."""
        if flight is None:
            return
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.land(kept)


async def _counted(whole: Awaitable[Answer], counts: Protocol) -> Answer:
    """What is refused on its way is counted as that."""
    try:
        return await whole
    except Refused as refused:
        counts.refused[refused.reason] += 1
        raise
