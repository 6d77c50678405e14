"""Which requests a candidate gets, and what became of them.

The split is by chance, request for request: by content it would let one frequent question decide. A request that names
a version stays, because the candidate's has another number. Answers of a candidate are never kept here: its own sidecar
keeps them, under its own digest, and so they cannot be taken for ours.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from modelpress.api.tunables import RolloutTunables
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.measures import Protocol
from modelpress.sidecar.reason import Bypass, Refused
from modelpress.sidecar.rollout.backend import Backend
from modelpress.sidecar.rollout.side import Side, code

if TYPE_CHECKING:
    from modelpress.sidecar.question import Question
    from modelpress.sidecar.rollout.shadow import Shadow

UNAVAILABLE = frozenset({"UNAVAILABLE", "503"})
SIDES = ("current", "candidate")

Live = Callable[["Question", Protocol], Awaitable[Answer]]


class Rollout:
    """The trial as it is configured now; without one `active` is False, and requests need not come here."""

    def __init__(self, artifact: str, *, chance: Callable[[], float] = random.random) -> None:
        self._artifact = artifact
        self._chance = chance
        self._settings: RolloutTunables | None = None
        self._backend: Backend | None = None
        self.active = False
        """Whether there is a candidate beside us."""
        self._retiring: dict[asyncio.Task[None], Backend] = {}
        self.shadow: Shadow | None = None
        self.shadowed: Counter[str] = Counter()
        """Outcomes of all shadows since the start."""
        self.total = {side: Side() for side in SIDES}
        """Since the start, for metrics."""
        self.step = {side: Side() for side in SIDES}
        """Since candidate and weight are what they are, for decisions."""
        self.fallbacks = 0

    @property
    def weight(self) -> float:
        """Percent of the requests that go to the candidate."""
        return self._settings.weight if self._settings is not None else 0.0

    def configure(self, wanted: RolloutTunables | None, *, timeout: float) -> None:
        """A new trial, step or end of it. `timeout` is how long a shadow may take, in seconds.

        The candidate's own sidecar reads the same file: for it there is nothing to split.
        """
        if wanted is not None and wanted.candidate.artifact_digest == self._artifact:
            wanted = None
        before, self._settings = self._settings, wanted
        other = wanted is None or before is None or wanted.candidate != before.candidate
        if other:
            self._replace(wanted)
        if wanted is None or before is None or other or wanted.weight != before.weight:
            self.step = {side: Side() for side in SIDES}
        if other or before is None or wanted is None or wanted.shadow != before.shadow:
            self._reshadow(wanted, timeout)

    async def close(self) -> None:
        """Ends shadows and closes every connection."""
        if self.shadow is not None:
            self.shadow.stop()
        retiring = dict(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        for backend in (self._backend, *retiring.values()):
            if backend is not None:
                await backend.close()

    async def answer(self, question: Question, counts: Protocol, live: Live) -> Answer:
        """From the candidate, if it is its turn, else `live`; raises Refused. Counts exactly one outcome."""
        backend, settings = self._backend, self._settings
        if backend is None or settings is None or not question.runs_model:
            return await live(question, counts)
        if self._chance() * 100 < settings.weight and not question.stays:
            return await self._forward(question, counts, live, backend, settings)
        return await self._live(question, counts, live, backend)

    async def _live(self, question: Question, counts: Protocol, live: Live, backend: Backend) -> Answer:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            answer = await live(question, counts)
        except Refused:
            self.total["current"].refused += 1
            self.step["current"].refused += 1
            raise
        self._count("current", answer, clock() - started)
        if self.shadow is not None and answer.succeeded:
            self.shadow.offer(question, answer, backend)
        return answer

    async def _forward(
        self, question: Question, counts: Protocol, live: Live, backend: Backend, settings: RolloutTunables
    ) -> Answer:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            with backend.used():
                answer = await question.ask_at(backend, question.deadline)
        except BaseException:
            counts.bypassed[Bypass.CANDIDATE] += 1
            raise
        self._count("candidate", answer, clock() - started)
        if settings.fall_back and code(answer) in UNAVAILABLE:
            self.fallbacks += 1
            return await live(question, counts)
        counts.bypassed[Bypass.CANDIDATE] += 1
        return answer

    def _count(self, side: str, answer: Answer, seconds: float) -> None:
        self.total[side].answered(answer, seconds)
        self.step[side].answered(answer, seconds)

    def _replace(self, wanted: RolloutTunables | None) -> None:
        if self._backend is not None:
            task = asyncio.get_running_loop().create_task(self._backend.retire())
            self._retiring[task] = self._backend
            task.add_done_callback(self._retiring.pop)
        self._backend = None if wanted is None else Backend(wanted.candidate)
        self.active = wanted is not None

    def _reshadow(self, wanted: RolloutTunables | None, timeout: float) -> None:
        if self.shadow is not None:
            self.shadow.stop()
        self.shadow = None
        if wanted is not None and wanted.shadow is not None:
            from modelpress.sidecar.rollout.shadow import Shadow  # brings numpy, which nobody else needs

            self.shadow = Shadow(wanted.shadow, self.shadowed, timeout=timeout, chance=self._chance)

    def state(self) -> dict[str, Any] | None:
        """As `/state` shows it, None without a candidate."""
        if self._settings is None:
            return None
        return {
            "candidate": self._settings.candidate.plain(),
            "weight": self._settings.weight,
            "fallBack": self._settings.fall_back,
            "fallbacks": self.fallbacks,
            **{side: counts.state() for side, counts in self.step.items()},
            "shadow": self.shadow.state() if self.shadow is not None else None,
        }
