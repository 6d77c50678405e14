"""A process that is killed while it builds costs its move at most, and never the search."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest

from modelpress.api.recipe import Recipe
from modelpress.compress.search import crew
from modelpress.compress.search import move as moves

HARMLESS, DEADLY, OTHER = (
    moves.of_steps([{"quantize": {"scheme": scheme}}], "TFLite", Recipe(), "CPU")
    for scheme in ("DynamicInt8", "StaticInt8", "Float16")
)


def dies_of_one(move, seconds):
    if move == DEADLY:
        die()


def killed_twice(move, seconds):
    if move == DEADLY:
        with open(os.environ["DEATHS"], "a+") as deaths:
            deaths.seek(0)
            is_over = len(deaths.read()) == 2
            if not is_over:
                deaths.write("x")
        if not is_over:
            die()


def fails(move, seconds):
    if move is not None:
        raise RuntimeError("the converter failed")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def team(monkeypatch):
    """Makes a crew of two whose processes build by `build`; they are forked, so that they know it."""
    opened = []

    def make(build, *, begin=None):
        monkeypatch.setattr(crew, "_build", build)
        start = functools.partial(
            ProcessPoolExecutor, mp_context=multiprocessing.get_context("fork"), initializer=begin
        )
        opened.append(crew.Crew(start, 2, said.append))
        return opened[-1]

    said = make.said = []
    yield make
    for one in opened:
        one.close()


def test_the_move_that_kills_is_told_from_the_one_that_died_with_it(team):
    builders = team(dies_of_one)
    assert builders.build([HARMLESS, OTHER], seconds=60) == []
    assert builders.count == 2
    assert builders.build([HARMLESS, DEADLY], seconds=60) == [DEADLY]
    assert builders.count == 1
    assert team.said == ["A process that built a move was killed; the search goes on with one"]
    assert builders.build([HARMLESS, DEADLY], seconds=60) == [], "left to the process that measures"


def test_a_move_whose_process_is_killed_twice_from_outside_is_not_blamed(team, tmp_path, monkeypatch):
    monkeypatch.setenv("DEATHS", str(tmp_path / "deaths"))
    assert team(killed_twice).build([HARMLESS, DEADLY], seconds=60) == []
    assert (tmp_path / "deaths").read_text() == "xx"


def test_where_no_process_can_be_had_no_move_is_blamed(team):
    builders = team(dies_of_one, begin=die)
    assert builders.build([HARMLESS, DEADLY], seconds=60) == []
    assert builders.count == 1
    (said,) = team.said
    assert said.startswith("No process that builds beside this one could begin")


def test_a_build_that_fails_is_left_to_its_trial(team):
    builders = team(fails)
    assert builders.build([HARMLESS, OTHER], seconds=60) == []
    assert builders.count == 2
