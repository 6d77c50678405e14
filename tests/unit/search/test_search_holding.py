"""Whether TFLite can hold a model is looked at once, and a look that ends the process leaves SavedModels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from modelpress.api.errors import Invalid
from modelpress.api.gate import Gate
from modelpress.api.recipe import Recipe
from modelpress.api.request import Request, Target
from modelpress.api.source import Source
from modelpress.compress import bench as benches
from modelpress.compress.search import attempts, holding
from modelpress.compress.search.journal import Journal
from modelpress.telemetry.progress import Silent


@pytest.fixture
def looks(monkeypatch):
    """Counts the conversions that are looked at."""
    found = []
    monkeypatch.setattr(holding.forms, "floating", lambda bench, version: found.append(version))
    return found


def a_bench(**recipe):
    request = Request(
        name="m",
        source=Source(uri="m"),
        recipe=Recipe.model_validate(recipe),
        gate=Gate(),
        target=Target(),
        store="store",
    )
    given = dict.fromkeys(benches.Bench.__dataclass_fields__)
    return benches.Bench(
        **given
        | {"request": request, "progress": Silent(), "versions": SimpleNamespace(after=lambda changes: "source")}
    )


def killed_often(folder):
    for _ in range(3):
        Journal(folder / "trials.jsonl").begin([holding.LOOK])
    journal = Journal(folder / "trials.jsonl")
    attempts.give_up(journal, Silent())
    return journal


def test_a_look_that_ends_well_leaves_nothing_behind(tmp_path, looks):
    journal = Journal(tmp_path / "trials.jsonl")
    bench, refused = holding.narrowed(a_bench(), journal)
    assert (bench.request.recipe.format, refused, looks) == ("Auto", (), ["source"])
    assert Journal(tmp_path / "trials.jsonl").trials == []
    assert not Journal(tmp_path / "trials.jsonl").is_unfinished(holding.LOOK.begun)


def test_a_look_that_ended_the_process_three_times_leaves_savedmodels(tmp_path, looks):
    journal = killed_often(tmp_path)
    bench, _ = holding.narrowed(a_bench(), journal)
    assert (bench.request.recipe.format, looks) == ("SavedModel", [])
    assert [(trial.recipe, trial.form, trial.verdict) for trial in journal.trials] == [
        ("every scheme", "TFLite", "Crashed")
    ]


def test_where_tflite_alone_is_asked_for_that_is_refused(tmp_path, looks):
    with pytest.raises(Invalid, match="ended its process three times") as refused:
        holding.narrowed(a_bench(format="TFLite"), killed_often(tmp_path))
    assert (refused.value.reason, refused.value.field) == ("FormNotPossible", "spec.recipe.format")
