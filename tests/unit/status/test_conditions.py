"""Conditions and their history."""

from __future__ import annotations

import datetime as dt

from modelpress.status import conditions
from modelpress.status.conditions import Draft

NOW = dt.datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(minutes=5)


def test_the_time_stays_while_the_status_does_and_moves_with_it() -> None:
    first = conditions.written([Draft("Ready", "False", "A", "a")], (), generation=1, now=NOW)
    same = conditions.written([Draft("Ready", "False", "B", "b")], first, generation=2, now=LATER)
    other = conditions.written([Draft("Ready", "True", "B", "b")], same, generation=2, now=LATER)
    assert [one[0].last_transition_time.minute for one in (first, same, other)] == [0, 0, 5]
    assert (same[0].reason, same[0].observed_generation) == ("B", 2)


def test_times_are_whole_seconds_in_utc() -> None:
    made = conditions.written([Draft("Ready", "True", "A", "a")], (), generation=1, now=NOW)
    assert made[0].plain()["lastTransitionTime"] == "2026-11-22T10:00:00Z"


def test_what_nothing_new_is_known_of_is_kept_whole() -> None:
    old = conditions.written([Draft("GatePassed", "True", "Passed", "x")], (), generation=1, now=NOW)
    assert conditions.written(old, old, generation=2, now=LATER) == old


def test_conditions_come_in_their_order() -> None:
    drafts = [Draft(type_, "True", "A", "a") for type_ in reversed(conditions.TYPES)]
    made = conditions.written(drafts, (), generation=1, now=NOW)
    assert tuple(one.type for one in made) == conditions.TYPES


def test_a_message_has_an_end() -> None:
    made = conditions.written([Draft("Ready", "True", "A", "x" * 5000)], (), generation=1, now=NOW)
    assert len(made[0].message) == 1024
    assert made[0].message.endswith("…")
