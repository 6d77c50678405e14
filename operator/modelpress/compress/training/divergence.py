"""When a training has gone wrong for good, although its loss is still a number. Pure.

Batches are judged one by one: where positives are rare or a signal is weak, a few of them cost a lot and most cost
little, which no mean tells from a training that went wrong. In one that did, nearly every batch is bad.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

FIRST = 20
"""Updates that tell where the loss began; the rate is still rising."""
RECENT = 0.95
"""Share of the mean of recent losses that each update keeps: it looks back about twenty updates."""
RISEN = 1.1
"""Times the first losses; less is no rise."""
HOPELESS = 2.0
"""Times the loss of a model that always gives the same answer: so far from it none comes back by itself."""
NO_BETTER = 0.95
"""The same, of a model that has forgotten everything, as one whose units are all dead."""
NEARLY_ALL = 0.9
"""Share of recent batches that have to be so bad."""
SOON, LATE = 0.95, 0.96
"""Shares of these shares that each update keeps: `NEARLY_ALL` is reached after 45 hopeless updates in a row, and after
57 that are no better."""


class Watch(NamedTuple):
    """What is remembered of the losses so far."""

    updates: int = 0
    firsts: tuple[float, ...] = ()
    """The first losses."""
    recent: float = 0.0
    """Mean of losses that forgets."""
    hopeless: float = 0.0
    """Share of recent batches that were far above a constant answer, and above the beginning."""
    no_better: float = 0.0
    """Share of recent batches that were no better than a constant answer, and above the beginning."""

    @classmethod
    def of(cls, plain: Sequence[Any]) -> Watch:
        """From its fields in order, as a checkpoint keeps them."""
        updates, firsts, *rest = plain
        return cls(updates, tuple(firsts), *rest)

    @property
    def first(self) -> float:
        """Median of the first losses: also where it went wrong while they were taken."""
        return statistics.median(self.firsts) if self.firsts else 0.0

    def after(self, loss: float, worthless: float) -> Watch:
        """With one more update; `worthless` is the loss of a model that always gives the same answer."""
        if self.updates < FIRST:
            firsts = (*self.firsts, loss)
            return Watch(len(firsts), firsts, sum(firsts) / len(firsts))
        bad = loss > RISEN * self.first
        return Watch(
            self.updates + 1,
            self.firsts,
            _moved(RECENT, self.recent, loss),
            _moved(SOON, self.hopeless, float(bad and loss > HOPELESS * worthless)),
            _moved(LATE, self.no_better, float(bad and loss > NO_BETTER * worthless)),
        )

    @property
    def is_diverged(self) -> bool:
        """Whether nearly all recent batches were hopeless, or for long no better than a constant answer."""
        return self.hopeless > NEARLY_ALL or self.no_better > NEARLY_ALL


def _moved(kept: float, mean: float, value: float) -> float:
    return kept * mean + (1 - kept) * value
