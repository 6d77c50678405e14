"""Work under a limit ends with the first sign of progress after its time; what is said is always said."""

from __future__ import annotations

import pytest

from modelpress.compress.limited import Limited, OutOfTime
from modelpress.telemetry.progress import Silent


class Said(Silent):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_a_sign_of_progress_after_the_time_ends_the_work():
    limited, seconds = Limited(Silent()), iter(range(100))
    done = 0
    with pytest.raises(OutOfTime), limited.until(lambda: next(seconds) > 3), limited.step("Training") as step:
        for _ in range(50):
            step.advance()
            done += 1
    assert done == 3


def test_no_new_piece_of_work_begins_after_the_time():
    limited = Limited(Silent())
    with limited.until(lambda: True):
        with pytest.raises(OutOfTime), limited.step("Training"):
            pytest.fail("it began")
        with pytest.raises(OutOfTime):
            limited.beat()


def test_nothing_ends_outside_of_the_limit_and_lines_are_said_within():
    said = Said()
    limited = Limited(said)
    with limited.until(lambda: True):
        limited.say("over")
    with limited.step("Publishing") as step:
        step.advance()
    assert said.lines == ["over"]
