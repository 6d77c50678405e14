"""Conditions: drafted anew each time, with the time of the last transition kept while the status stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Literal, NamedTuple

from modelpress.api.status import Condition

MESSAGE_LIMIT = 1024
TYPES = (
    "Ready",
    "Available",
    "SourceResolved",
    "Compressed",
    "GatePassed",
    "CacheEffective",
    "AutoscalerReady",
    "Reconciling",
    "Stalled",
)
"""In the order in which they are shown. The last two exist only while they are true."""

State = Literal["True", "False", "Unknown"]


class Draft(NamedTuple):
    """A condition as it should be, without its history."""

    type: str
    status: State
    reason: str
    """CamelCase."""
    message: str


def written(
    drafts: Iterable[Draft | Condition], old: Iterable[Condition], *, generation: int | None, now: dt.datetime
) -> tuple[Condition, ...]:
    """The drafts as conditions; the transition time moves only when a status does.

    A Condition among the drafts is kept as it is: nothing new is known of it, not even for this generation.
    """
    before = {condition.type: condition for condition in old}
    moment = now.replace(microsecond=0)
    found = []
    for draft in sorted(drafts, key=lambda draft: TYPES.index(draft.type)):
        if isinstance(draft, Condition):
            found.append(draft)
            continue
        known = before.get(draft.type)
        since = known.last_transition_time if known and known.status == draft.status else moment
        found.append(
            Condition(
                type=draft.type,
                status=draft.status,
                reason=draft.reason,
                message=_cut(draft.message),
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return tuple(found)


def named(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of a type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether there is such a condition and it is True."""
    found = named(conditions, type_)
    return found is not None and found.status == "True"


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
