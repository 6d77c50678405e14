"""The deadlines of many calls by one timer: making and cancelling one for each would cost more than most calls do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable

from modelpress.sidecar.stream import Stream

EARLY = 1e-3
"""Seconds by which the loop's timers may be ahead of its clock."""


class Timeouts:
    """Wakes up when the earliest deadline known comes, looks through the streams there are, and sleeps until the next.

    A deadline must be `watch`ed once; nothing need be told when its stream ends before.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        streams: Callable[[], Iterable[Stream]],
        expire: Callable[[Stream], None],
    ) -> None:
        self._loop = loop
        self._streams = streams
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None
        self.earliest = math.inf
        """When it will look next, on the loop's clock."""

    def watch(self, deadline: float) -> None:
        """There is a stream with this deadline."""
        if deadline < self.earliest:
            self.close()
            self.earliest = deadline
            self._timer = self._loop.call_at(deadline, self._look)

    def close(self) -> None:
        """No more looking."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.earliest = None, math.inf

    def _look(self) -> None:
        self.close()
        now = self._loop.time() + EARLY
        for stream in [stream for stream in self._streams() if stream.deadline <= now]:
            self._expire(stream)
        self.watch(min((stream.deadline for stream in self._streams()), default=math.inf))
