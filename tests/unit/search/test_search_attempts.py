"""Moves are written down before they are tried: one that ends its process twice is given up, and the others go on."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Recipe, Search
from modelpress.api.trial import Trial
from modelpress.compress.search import attempts as trying
from modelpress.compress.search import move as moves
from modelpress.compress.search.attempts import Attempts
from modelpress.compress.search.journal import Journal
from modelpress.compress.search.rounds import Budget
from modelpress.compress.search.stopwatch import Stopwatch
from modelpress.telemetry.progress import Silent

PROPOSED = [
    moves.of_steps([{"quantize": {"scheme": scheme}}], "TFLite", Recipe(), "CPU")
    for scheme in ("DynamicInt8", "StaticInt8", "Int4Weights", "Float16")
]
NAMES = [move.build.recipe.removeprefix("quantize ") for move in PROPOSED]


class Killed(Exception):
    """Stands for a death that no code of the process sees."""


class Judge:
    """An examination whose process dies of some moves."""

    def __init__(self, deadly=(), error=Killed):
        self.deadly, self.error, self.tried_names = deadly, error, []

    def tried(self, move, number, earlier):
        recipe = move.build.recipe
        self.tried_names.append(recipe.removeprefix("quantize "))
        if self.tried_names[-1] in self.deadly:
            raise self.error
        return Trial(number=number, name=move.name, recipe=recipe, form="TFLite", verdict="Passed", message="")


class Builders:
    """A crew that notes what it is given at once; `kills` end their process there, and once more alone."""

    def __init__(self, count, kills=()):
        self.count, self.kills, self.given = count, kills, []

    def build(self, batch, *, seconds):
        names = [move.build.recipe.removeprefix("quantize ") for move in batch]
        self.given.append(names)
        return [move for move, name in zip(batch, names, strict=True) if name in self.kills]


def run(folder, judge, *, most=20, builders=None, proposed=PROPOSED):
    """One process of the search, to its end or its death; the trials that are kept."""
    journal = Journal(folder / "trials.jsonl")
    bench = SimpleNamespace(progress=Silent())
    with Stopwatch(folder / "seconds") as watch, contextlib.suppress(Killed):
        attempts = Attempts(bench, judge, journal, watch, builders)
        trying.give_up(journal, bench.progress)
        attempts.all(proposed, most=lambda: most - len(journal.trials), seconds=lambda: 60.0)
    return Journal(folder / "trials.jsonl").trials


def verdicts(trials):
    return [(trial.recipe.removeprefix("quantize "), trial.verdict) for trial in trials]


def test_a_move_that_kills_its_process_twice_is_a_trial_with_that_verdict_and_the_search_goes_on(tmp_path):
    judge = Judge(deadly=["Int4Weights"])
    assert verdicts(run(tmp_path, judge)) == [(name, "Passed") for name in NAMES[:2]]
    assert len(run(tmp_path, judge)) == 2
    trials = run(tmp_path, judge)
    assert verdicts(trials) == [
        ("DynamicInt8", "Passed"),
        ("StaticInt8", "Passed"),
        ("Int4Weights", "Crashed"),
        ("Float16", "Passed"),
    ]
    assert [trial.number for trial in trials] == [1, 2, 3, 4]
    assert "raise the limit of spec.jobs.resources" in trials[2].message
    assert judge.tried_names == [*NAMES[:3], "Int4Weights", "Float16"]


def test_an_eviction_is_no_verdict(tmp_path):
    run(tmp_path, Judge(deadly=["StaticInt8"]))
    assert verdicts(run(tmp_path, Judge())) == [(name, "Passed") for name in NAMES]


@pytest.mark.parametrize("error", [KeyboardInterrupt, Invalid("StorageFull", "no space is left")])
def test_what_stops_a_search_from_outside_is_never_blamed_on_a_move(tmp_path, error):
    for _ in range(3):
        with contextlib.suppress(KeyboardInterrupt, Invalid):
            run(tmp_path, Judge(deadly=["DynamicInt8"], error=error))
    assert verdicts(run(tmp_path, Judge())) == [(name, "Passed") for name in NAMES]


def test_what_was_cut_off_among_others_is_tried_again_alone(tmp_path):
    run(tmp_path, Judge(deadly=["DynamicInt8"]), builders=Builders(2))
    builders = Builders(2)
    run(tmp_path, Judge(), builders=builders)
    assert builders.given == [["DynamicInt8"], ["StaticInt8"], ["Int4Weights", "Float16"]]


def test_a_move_that_kills_the_process_of_a_crew_twice_is_not_tried_by_the_one_that_measures(tmp_path):
    judge = Judge()
    trials = run(tmp_path, judge, builders=Builders(2, kills=["StaticInt8"]))
    assert verdicts(trials)[1] == ("StaticInt8", "Crashed")
    assert judge.tried_names == ["DynamicInt8", "Int4Weights", "Float16"]


def test_no_more_are_begun_than_trials_are_left(tmp_path):
    builders = Builders(2)
    assert len(run(tmp_path, Judge(), most=3, builders=builders)) == 3
    assert builders.given == [["DynamicInt8", "StaticInt8"], ["Int4Weights"]]


def test_seconds_of_killed_runs_count_unless_nothing_came_of_them(tmp_path):
    (tmp_path / "seconds").write_text("900.0\n")
    journal = Journal(tmp_path / "trials.jsonl")
    with Stopwatch(tmp_path / "seconds") as watch:
        assert Budget(Search(timeout="30m"), journal, lambda: 5.0, before=watch.before).seconds() == 1800
        Attempts(SimpleNamespace(progress=Silent()), Judge(), journal, watch).one(PROPOSED[0])
        budget = Budget(Search(timeout="30m"), journal, lambda: 5.0, before=watch.before)
        assert (budget.seconds(), budget.is_over()) == (900, False)
        assert Budget(Search(timeout="10m"), journal, lambda: 5.0, before=watch.before).is_over()
    assert float((tmp_path / "seconds").read_text()) >= 900


def test_a_stopwatch_goes_on_where_a_killed_one_was_seen_last(tmp_path):
    times = iter([100.0, 107.5])
    Stopwatch(tmp_path / "seconds", clock=lambda: next(times)).keep()  # and is killed
    assert Stopwatch(tmp_path / "seconds").before == 7.5
    (tmp_path / "seconds").write_text("torn")
    assert Stopwatch(tmp_path / "seconds").before == 0
