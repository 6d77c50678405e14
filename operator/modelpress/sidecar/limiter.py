"""At most `limit` requests in the model at once; a bounded number wait in line, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from modelpress.sidecar.reason import Refusal, Refused

LONGEST_RETRY_AFTER = 30.0
_SMOOTHING = 0.1


def never_gone() -> bool:
    """For clients whose going is told by cancellation."""
    return False


class _Waiter:
    __slots__ = ("deadline", "future", "gone", "timer")

    def __init__(self, future: asyncio.Future[None], deadline: float, gone: Callable[[], bool]) -> None:
        self.future = future
        self.deadline = deadline
        self.gone = gone
        self.timer: asyncio.TimerHandle | None = None


class Limiter:
    """Slots and a queue. Times are on the running loop's clock, in seconds; every limit may change at any moment."""

    def __init__(self, *, limit: int, depth: int, timeout: float) -> None:
        self.limit = limit
        self.depth = depth
        self.timeout = timeout
        self.in_flight = 0
        self._waiting: deque[_Waiter] = deque()
        self._service_time = 0.0

    @property
    def queued(self) -> int:
        """Requests in the line now."""
        return len(self._waiting)

    def configure(self, *, limit: int, depth: int, timeout: float) -> None:
        """New limits, for those who come now and, where there is more room, for those who wait."""
        self.limit, self.depth, self.timeout = limit, depth, timeout
        self._admit()

    def take(self) -> bool:
        """A slot at once, where one is free and nobody is before us."""
        if self.in_flight >= self.limit or self._waiting:
            return False
        self.in_flight += 1
        return True

    async def acquire(self, deadline: float, gone: Callable[[], bool] = never_gone) -> None:
        """A slot, to be given back by `release`; raises Refused.

        `deadline` is the request's own. `gone` is asked just before the slot is given. Cancelling leaves the line.
        """
        if self.take():
            return
        if len(self._waiting) >= self.depth:
            raise Refused(
                Refusal.QUEUE_FULL,
                f"{self.in_flight} requests are in the model and {len(self._waiting)} wait; no more may wait",
                retry_after=self.retry_after(),
            )
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), deadline, gone)
        waiter.timer = loop.call_at(min(deadline, loop.time() + self.timeout), self._expire, waiter)
        self._waiting.append(waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        finally:
            waiter.timer.cancel()

    def release(self, service_time: float) -> None:
        """Gives a slot back; `service_time` is how long the model took, in seconds."""
        self.in_flight -= 1
        self._service_time += _SMOOTHING * (service_time - self._service_time)
        self._admit()

    def retry_after(self) -> float:
        """Seconds until the line as it is now will have been served."""
        estimate = (len(self._waiting) + 1) * self._service_time / self.limit
        return min(max(estimate, 0.05), LONGEST_RETRY_AFTER)

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            waiter = self._waiting.popleft()
            if waiter.future.done():
                continue
            if asyncio.get_running_loop().time() >= waiter.deadline:
                waiter.future.set_exception(_too_late())
            elif waiter.gone():
                waiter.future.set_exception(Refused(Refusal.CLIENT_GONE, "The client has gone"))
            else:
                self.in_flight += 1
                waiter.future.set_result(None)

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
                f"Waited {self.timeout:g} s for one of the {self.limit} places in the model",
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
