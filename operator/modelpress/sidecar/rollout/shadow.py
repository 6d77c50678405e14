"""Copies of live requests to a candidate, whose answers are compared with the live ones and thrown away.

A copy begins when the live answer is there, so it can neither delay nor change it. Only so many are on their way at
once; what comes meanwhile is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modelpress.api.tunables import ShadowTunables
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.rollout.backend import Backend
from modelpress.sidecar.rollout.comparison import Comparison, Tolerance
from modelpress.sidecar.rollout.outputs import Unreadable
from modelpress.sidecar.rollout.side import code

if TYPE_CHECKING:
    from modelpress.sidecar.question import Question

log = logging.getLogger(__name__)

OUTCOMES = ("equal", "diverged", "failed", "unreadable", "dropped")
MOST_OUTPUTS = 256
"""Outputs of which records are kept: a candidate must not fill our memory with names."""
MOST_BYTES = 1 << 24
"""Bytes of requests that all copies together may hold."""
INLINE = 1 << 16
"""Bytes of an answer up to which it is compared in the loop; longer ones in a thread."""


class Shadow:
    """The shadows of one candidate under one setting."""

    def __init__(
        self, settings: ShadowTunables, totals: Counter[str], *, timeout: float, chance: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._totals = totals
        self._timeout = timeout
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = 0
        self._comparing = asyncio.Lock()
        self.outcomes: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        """Of the candidate's answers that were failures."""
        self.comparison = Comparison(Tolerance(settings.relative_tolerance, settings.absolute_tolerance))

    def offer(self, question: Question, live: Answer, backend: Backend) -> None:
        """A request that has been answered; takes a sample, and comes back at once."""
        if self._chance() >= self._settings.sample_rate or not question.comparable or question.stays:
            return
        size = sum(map(len, question.chunks))
        if len(self._tasks) >= self._settings.concurrency or self._held + size > MOST_BYTES:
            self._count("dropped")
            return
        self._held += size
        task = asyncio.get_running_loop().create_task(self._follow(question, live, backend))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, size))

    def stop(self) -> None:
        """Ends what is on its way."""
        for task in self._tasks:
            task.cancel()

    def state(self) -> dict[str, Any]:
        """As `/state` shows it."""
        return {
            "sampleRate": self._settings.sample_rate,
            "inFlight": len(self._tasks),
            **{name: self.outcomes[name] for name in OUTCOMES},
            "codes": dict(sorted(self.codes.items())),
            "outputs": {name: record.state() for name, record in self.comparison.outputs.items()},
        }

    async def _follow(self, question: Question, live: Answer, backend: Backend) -> None:
        deadline = asyncio.get_running_loop().time() + self._timeout
        with backend.used():
            answer = await question.ask_at(backend, deadline)
        if not answer.succeeded:
            self.codes[code(answer)] += 1
            self._count("failed")
            return
        async with self._comparing:
            if len(live.body) + len(answer.body) <= INLINE:
                outcome = self._compare(question, live, answer)
            else:
                outcome = await asyncio.to_thread(self._compare, question, live, answer)
        self._count(outcome)

    def _compare(self, question: Question, live: Answer, answer: Answer) -> str:
        try:
            ours, theirs = question.outputs(live), question.outputs(answer)
        except Unreadable:
            return "unreadable"
        if len(self.comparison.outputs.keys() | ours.keys() | theirs.keys()) > MOST_OUTPUTS:
            return "unreadable"
        return "equal" if self.comparison.update(ours, theirs) else "diverged"

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        self._totals[outcome] += 1

    def _ended(self, task: asyncio.Task[None], size: int) -> None:
        self._held -= size
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._count("failed")
            log.error("A shadow request failed", exc_info=task.exception())
