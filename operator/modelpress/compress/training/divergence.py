"""When a training has gone wrong for good, although its loss is still a number. Pure."""

from __future__ import annotations

from typing import NamedTuple

FIRST = 20
"""Updates that tell where the loss began; the rate is still rising."""
RECENT = 0.95
"""Share of the mean of recent losses that each update keeps: it looks back about twenty updates."""
HOPELESS = 2.0
"""Times the loss of a model that always gives the same answer: so far from it none comes back by itself."""
NO_BETTER = 0.95
"""The same, of a model that has forgotten everything, as one whose units are all dead."""
PATIENCE = 100
"""Updates that such a model gets to remember."""


class Watch(NamedTuple):
    """What is remembered of the losses so far."""

    updates: int = 0
    first: float = 0.0
    """Mean of the first losses."""
    recent: float = 0.0
    """Mean that forgets."""
    astray: int = 0
    """Updates in a row after which the model was no better than a constant answer, and worse than in the beginning."""

    def after(self, loss: float, worthless: float) -> Watch:
        """With one more update; `worthless` is the loss of a model that always gives the same answer."""
        if self.updates < FIRST:
            mean = self.first + (loss - self.first) / (self.updates + 1)
            return Watch(self.updates + 1, mean, mean)
        recent = RECENT * self.recent + (1 - RECENT) * loss
        is_astray = recent > self.first and recent > NO_BETTER * worthless
        return Watch(self.updates + 1, self.first, recent, self.astray + 1 if is_astray else 0)

    def is_diverged(self, worthless: float) -> bool:
        """Whether the loss is worse than in the beginning, and far above `worthless` or for long no better."""
        far = self.recent > max(self.first, HOPELESS * worthless)
        return self.updates > 2 * FIRST and (far or self.astray >= PATIENCE)
