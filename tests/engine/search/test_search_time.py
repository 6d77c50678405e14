"""A search ends when its time is over, in the middle of a trial too; what had passed before is offered."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from modelpress.api.data import Data
from modelpress.compress import engine
from modelpress.compress.search import ladder, space
from modelpress.telemetry.progress import Silent

pytestmark = pytest.mark.xdist_group("server")


class Hours(Silent):
    """A clock that stands still but while weights are trained: each batch takes ten minutes."""

    def __init__(self):
        self.seconds = 0.0
        self.batches = 0

    def clock(self):
        return self.seconds

    @contextlib.contextmanager
    def step(self, text, total=None):
        with super().step(text, total) as step:
            yield _Hour(self) if text.startswith("Fine-tuning") or "distill" in text.lower() else step


class _Hour:
    def __init__(self, hours):
        self.hours = hours

    def advance(self, amount=1):
        if amount:
            self.hours.seconds += 600
            self.hours.batches += 1

    def describe(self, text): ...


@pytest.fixture
def with_labels(ask, lights):
    """A search that may train."""
    stored = np.load(lights / "evaluation.npz")
    np.savez(lights / "training.npz", image=stored["image"][:200], label=stored["label"][:200])

    def make(**options):
        request = ask(**options)
        sets = {name: one.plain() for name, one in request.data if one is not None}
        data = Data.model_validate(sets | {"training": {"uri": str(lights / "training.npz")}})
        return request.model_copy(update={"data": data})

    return make


def test_the_trial_that_trains_too_long_is_cut_off_and_the_best_before_it_is_offered(with_labels, monkeypatch):
    rungs = ladder.moves
    monkeypatch.setattr(ladder, "moves", lambda *request, **known: rungs(*request, **known)[:1])
    monkeypatch.setattr(ladder, "refined", lambda *_, **__: [])
    monkeypatch.setattr(space, "CLIMBED", space.TRAINED)  # not first what trains nothing
    hours = Hours()
    request = with_labels(recipe={"search": {"timeout": "30m"}})
    done = engine.compress(request, progress=hours, now=1, clock=hours.clock)
    first, last = done.manifest.trials
    assert (last.verdict, last.passed, last.metric) == ("OutOfTime", False, None)
    assert "the 30m of spec.recipe.search.timeout were over" in last.message
    assert hours.batches == 3, "the first batch after the time was over ended the trial"
    assert (first.passed, first.candidate) == (True, 1)
    assert [one.recipe for one in done.manifest.candidates] == [first.recipe]
    assert ("OutOfTime", last.recipe) in {(one.reason, one.recipe) for one in done.manifest.refused}
