"""The journal of a search outlives the process that wrote it."""

from __future__ import annotations

from modelpress.api.trial import Trial
from modelpress.compress.search.journal import Journal


def trial(number):
    return Trial(
        number=number, name=f"m{number}", recipe="r", form="TFLite", verdict="Passed", message="ok", seconds=1.5
    )


def test_trials_are_found_again_by_their_names(tmp_path):
    journal = Journal(tmp_path / "trials.jsonl")
    journal.append(trial(1))
    journal.append(trial(2))
    again = Journal(tmp_path / "trials.jsonl")
    assert again.trials == [trial(1), trial(2)]
    assert again.named("m2") == trial(2)
    assert again.named("m3") is None
    assert again.seconds == 3.0


def test_a_line_that_a_killed_writer_left_torn_is_cut_off(tmp_path):
    path = tmp_path / "trials.jsonl"
    Journal(path).append(trial(1))
    with path.open("ab") as opened:
        opened.write(b'{"number": 2, "na')
    again = Journal(path)
    assert again.trials == [trial(1)]
    again.append(trial(2))
    assert Journal(path).trials == [trial(1), trial(2)]
