"""Whether the cache does any good, from what the sidecars of a model say again and again. Pure.

The verdict moves only when three readings in a row agree on another one, and keeps the sentence of the reading that
moved it: numbers that change with every reading belong to metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pydantic

from modelpress.status.conditions import Draft, State

TYPE = "CacheEffective"
EQUAL_READINGS = 3
NOT_MEASURED = "NotMeasured"
UNREACHABLE = "SidecarsUnreachable"
NOT_DETERMINISTIC = "NotDeterministic"
_VERDICTS: dict[str, State] = {"Effective": "True", "CostsMoreThanItSaves": "False", NOT_MEASURED: "Unknown"}
"""What a sidecar may say; of all else (a mode that has not reached it yet) the operator knows more than the sidecar."""
_KEPT: dict[str, State] = {**_VERDICTS, UNREACHABLE: "Unknown"}


class Effect(NamedTuple):
    """A verdict on the cache, in the form of a condition."""

    status: State
    reason: str
    message: str

    def agrees_with(self, other: Effect | None) -> bool:
        """Whether both say the same, in whatever words and numbers."""
        return other is not None and (self.status, self.reason) == (other.status, other.reason)

    def draft(self) -> Draft:
        """As a condition."""
        return Draft(TYPE, self.status, self.reason, self.message)


UNTOLD = Effect("Unknown", NOT_MEASURED, "The sidecars have not told yet whether the cache pays.")
NOBODY = Effect("Unknown", NOT_MEASURED, "No pod is ready that could tell whether the cache pays.")


class _Told(pydantic.BaseModel):
    reason: str
    message: str


class _Cache(pydantic.BaseModel):
    effective: _Told


class _State(pydantic.BaseModel):
    """The part of a sidecar's `/state` that tells of the effect."""

    artifact: str = pydantic.Field(alias="artifactDigest")
    cache: _Cache


class Reading(NamedTuple):
    """One answer of a sidecar; `effect` None: nothing that could be read."""

    effect: Effect | None
    is_ours: bool = True
    """Whether it is about the artifact that serves, not one that comes or goes."""


def read(state: Mapping[str, Any] | None, digest: str) -> Reading:
    """What a sidecar's `/state` (None: no answer) says of the artifact with this digest."""
    try:
        found = _State.model_validate(state)
    except pydantic.ValidationError:
        return Reading(None)
    told = found.cache.effective
    effect = Effect(_VERDICTS[told.reason], told.reason, told.message) if told.reason in _VERDICTS else UNTOLD
    return Reading(effect, found.artifact == digest)


def together(readings: Sequence[Reading]) -> Effect:
    """One verdict on all pods: that of most of those which have measured anything; of as many, the better one."""
    ours = [reading for reading in readings if reading.is_ours]
    answers = [reading.effect for reading in ours if reading.effect is not None]
    if not ours:
        return NOBODY
    if not answers:
        count = f"None of the {len(ours)} pods answers" if len(ours) > 1 else "The pod does not answer"
        told = f"{count} the operator on the sidecar's port 9090, so nobody knows whether the cache pays."
        return Effect("Unknown", UNREACHABLE, told)
    measured = [answer for answer in answers if answer.status != "Unknown"] or answers
    votes = Counter(answer.status for answer in measured)
    status = max(votes, key=lambda state: (votes[state], state == "True"))
    first = next(answer for answer in measured if answer.status == status)
    if len(measured) == 1:
        return first
    return first._replace(message=f"In {votes[status]} of {len(measured)} pods: {first.message}")


class Course(NamedTuple):
    """The readings of one model so far."""

    settled: Effect | None = None
    """The verdict that holds; None: none yet."""
    other: Effect | None = None
    """What has been said against it since."""
    times: int = 0
    """How often in a row."""

    def after(self, said: Effect) -> Course:
        """The course after another reading."""
        if said.agrees_with(self.settled):
            return Course(self.settled)
        times = self.times + 1 if said.agrees_with(self.other) else 1
        return Course(said) if times >= EQUAL_READINGS else Course(self.settled, said, times)


def known(reason: str | None, message: str) -> Effect | None:
    """The verdict that a condition of an earlier look, or of another operator, holds; None where it holds none."""
    return Effect(_KEPT[reason], reason, message) if reason in _KEPT else None
