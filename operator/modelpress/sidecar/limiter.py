"""A limited number of requests in the model at once; a bounded number wait in line, first come first served.

Who would wait in vain is sent away at once: where the line is full, or where it is so long that the request's deadline
or the longest wait will have passed before its turn (its length x the mean service time / the limit).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

from modelpress.api.tunables import ConcurrencyTunables
from modelpress.sidecar.elastic import Elastic
from modelpress.sidecar.reason import Refusal, Refused
from modelpress.sidecar.service_time import ServiceTime

LONGEST_RETRY_AFTER = 30.0
SOONEST_RETRY_AFTER = 0.05


class Rules(NamedTuple):
    """What a limiter goes by. All of it may change at any moment."""

    limit: int
    """Requests in the model at once; elastic: at most."""
    depth: int
    """Requests in the line."""
    timeout: float
    """The longest wait in the line, in seconds."""
    least: int | None = None
    """The lowest limit of an elastic one, None where the limit is fixed."""

    @classmethod
    def of(cls, queue: ConcurrencyTunables) -> Rules:
        """What the tunables say."""
        least = (queue.min or 1) if queue.mode == "Elastic" else None
        return cls(queue.limit, queue.queue_depth, queue.queue_timeout_seconds, least)


class _Waiter:
    __slots__ = ("deadline", "future", "since", "timer")

    def __init__(self, future: asyncio.Future[None], since: float, deadline: float) -> None:
        self.future = future
        self.since = since
        self.deadline = deadline
        self.timer: asyncio.TimerHandle | None = None


class Limiter:
    """Slots and a queue. Times are on the running loop's clock, in seconds."""

    def __init__(self, rules: Rules, *, now: float) -> None:
        self.rules = rules
        self.limit = rules.limit
        """Places in the model now."""
        self.in_flight = 0
        self._elastic: Elastic | None = None
        self._waiting: deque[_Waiter] = deque()
        self._service = ServiceTime()
        self.configure(rules, now=now)

    @property
    def queued(self) -> int:
        """Requests in the line now."""
        return len(self._waiting)

    @property
    def elastic(self) -> Elastic | None:
        """What moves the limit, None where it is fixed."""
        return self._elastic

    @property
    def service_seconds(self) -> float:
        """Mean time that the model takes, of late; 0 until it has answered."""
        return self._service.mean

    def configure(self, rules: Rules, *, now: float) -> None:
        """New rules: for those who come now, and for those who wait, where there is more room or less patience."""
        self.rules = rules
        if rules.least is None:
            self._elastic = None
        elif self._elastic is None:
            self._elastic = Elastic(least=rules.least, most=rules.limit, now=now)
        else:
            self._elastic.bound(least=rules.least, most=rules.limit)
        self.limit = rules.limit if self._elastic is None else self._elastic.limit
        for waiter in self._waiting:
            self._set_timer(waiter)
        if self._waiting:
            self._admit()

    def take(self) -> bool:
        """A slot at once, where one is free and nobody is before us."""
        if self.in_flight >= self.limit or self._waiting:
            return False
        self.in_flight += 1
        return True

    async def acquire(self, deadline: float) -> None:
        """A slot, to be given back by `release`; raises Refused.

        `deadline` is the request's own. Cancelling leaves the line.
        """
        if self.take():
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._check_line(deadline - now)
        waiter = _Waiter(loop.create_future(), now, deadline)
        self._set_timer(waiter)
        self._waiting.append(waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        finally:
            if waiter.timer is not None:
                waiter.timer.cancel()

    def release(self, service_time: float, *, failed: bool = False) -> None:
        """Gives a slot back; `service_time` is how long the model took, in seconds."""
        if not failed or service_time > self._service.mean:
            self._service.observe(service_time)
        if self._elastic is not None:
            now = asyncio.get_running_loop().time()
            self._elastic.observe(now, service_time, self.in_flight, failed=failed)
            self.limit = self._elastic.limit
        self.in_flight -= 1
        if self._waiting:
            self._admit()

    def expected_wait(self) -> float:
        """Seconds that the line as it is now takes to be served, by the mean service time; 0 where nobody waits."""
        return len(self._waiting) * self._service.mean / self._usual

    @property
    def _usual(self) -> int:
        return self.limit if self._elastic is None else self._elastic.usual

    def retry_after(self) -> float:
        """Seconds until the line as it is now will have been served, with one request more."""
        estimate = self.expected_wait() + self._service.mean / self._usual
        return min(max(estimate, SOONEST_RETRY_AFTER), LONGEST_RETRY_AFTER)

    def state(self) -> dict[str, Any]:
        """As `/state` shows it; times in seconds, rounded."""
        seen: dict[str, Any] = {
            "effectiveMode": "Fixed" if self._elastic is None else "Elastic",
            "limit": self.limit,
            "ceiling": self.rules.limit,
            "inFlight": self.in_flight,
            "queued": self.queued,
            "serviceSeconds": round(self._service.mean, 6),
            "expectedWaitSeconds": round(self.expected_wait(), 6),
        }
        if self._elastic is not None:
            seen["floor"], baseline = self._elastic.least, self._elastic.baseline
            seen["baselineSeconds"] = None if baseline is None else round(baseline, 6)
        return seen

    def _check_line(self, patience: float) -> None:
        """Raises Refused where there is no use in waiting; `patience` is until the request's deadline."""
        if patience <= 0:
            raise _too_late()
        if len(self._waiting) >= self.rules.depth:
            raise Refused(
                Refusal.QUEUE_FULL,
                f"{self.in_flight} requests are in the model and {len(self._waiting)} wait; no more may wait",
                retry_after=self.retry_after(),
            )
        wait, bound = self.expected_wait(), min(patience, self.rules.timeout)
        if wait > bound:
            whose = "its deadline" if patience < self.rules.timeout else "the longest wait allowed"
            raise Refused(
                Refusal.WAIT_TOO_LONG,
                f"The request would wait for {wait:.3g} s behind {len(self._waiting)} others; {whose} is {bound:.3g} s",
                retry_after=self.retry_after(),
            )

    def _admit(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._waiting and self.in_flight < self.limit:
            waiter = self._waiting.popleft()
            if waiter.future.done():
                continue
            if now + self._service.shortest >= waiter.deadline:
                waiter.future.set_exception(_too_late())
            else:
                self.in_flight += 1
                waiter.future.set_result(None)

    def _set_timer(self, waiter: _Waiter) -> None:
        if waiter.timer is not None:
            waiter.timer.cancel()
        ends = min(waiter.deadline, waiter.since + self.rules.timeout)
        waiter.timer = asyncio.get_running_loop().call_at(ends, self._expire, waiter)

    def _expire(self, waiter: _Waiter) -> None:
        if waiter.future.done():
            return
        self._waiting.remove(waiter)
        if asyncio.get_running_loop().time() >= waiter.deadline:
            waiter.future.set_exception(_too_late())
            return
        waiter.future.set_exception(
            Refused(
                Refusal.QUEUE_TIMEOUT,
                f"Waited {self.rules.timeout:g} s for one of the {self.limit} places in the model",
                retry_after=self.retry_after(),
            )
        )

    def _leave(self, waiter: _Waiter) -> None:
        """A cancelled waiter: out of the line, or its slot to the next, where it had just been given one."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        elif waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
            self.in_flight -= 1
            self._admit()


def _too_late() -> Refused:
    return Refused(Refusal.DEADLINE, "Deadline Exceeded before the request reached the model")
