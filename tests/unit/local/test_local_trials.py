"""`modelpress trials` finds a search by what was asked for: complete, cut off, or still running."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from modelpress import cli
from modelpress.api import request as requests
from modelpress.api.artifact import ArtifactManifest, Servable, SourceFound
from modelpress.api.errors import Invalid
from modelpress.api.recipe import Recipe
from modelpress.api.trial import Trial
from modelpress.compress import engine
from modelpress.compress.local import anchoring
from modelpress.compress.search import journal as journals
from modelpress.compress.search import move as moves
from modelpress.compress.search.journal import Begun, Journal
from modelpress.storage import layout

RESOURCE = {
    "apiVersion": "modelpress.dev/v1alpha1",
    "kind": "CompressedModel",
    "metadata": {"name": "digits"},
    "spec": {"source": {"uri": "model"}, "recipe": {"search": {"trials": 4}}},
}
INT8, HALF = (
    moves.of_steps([{"quantize": {"scheme": scheme}}], "TFLite", Recipe(), "CPU")
    for scheme in ("DynamicInt8", "Float16")
)
TRIAL = Trial(
    number=1,
    name=INT8.name,
    recipe=INT8.build.recipe,
    form="TFLite",
    verdict="Passed",
    message="",
    metric=0.9,
    drop=0.001,
    size_ratio=0.25,
    latency_ratio=0.5,
    net_ratio=0.5,
)


@pytest.fixture
def project(tmp_path):
    """A file whose search was never begun, and where its work and its artifact would be."""
    file, store = tmp_path / "model.yaml", layout.opened(str(tmp_path / ".modelpress"), "default")
    file.write_text(yaml.safe_dump(RESOURCE))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"a model")
    resource, _ = anchoring.load(file)
    key = engine.artifact_key(requests.of_resource(resource, store=str(tmp_path / ".modelpress")))
    return SimpleNamespace(file=file, key=key, store=store, journal=store.work(key) / journals.NAME)


def asked(project, *words):
    return CliRunner().invoke(cli.app, [words[0], "-f", str(project.file), *words[1:]], catch_exceptions=True)


def complete(project):
    shutil.rmtree(project.store.work(project.key), ignore_errors=True)
    servable = Servable(
        path="source/1", form="SavedModel", digest="sha256:0", size_bytes=1, files=(), signatures=("s",)
    )
    found = SourceFound(uri="m", digest="sha256:0", format="Keras", signatures=("s",), servable=servable)
    manifest = ArtifactManifest(
        key=project.key,
        created=1,
        source=found,
        candidates=(),
        trials=(TRIAL.model_copy(update={"front": True, "candidate": 1}),),
        seed=0,
        deterministic=True,
        versions={},
    )
    project.store.publish(project.key, manifest)


def test_a_search_that_runs_or_was_killed_shows_what_it_tried_so_far(project):
    journal = Journal(project.journal)
    journal.begin([Begun.of(INT8)])
    assert "No trial has ended yet" in asked(project, "trials").stdout
    journal.append(TRIAL)
    journal.begin([Begun.of(HALF)])
    lines = asked(project, "trials").stdout.strip().splitlines()
    assert lines[-2].startswith("So far: 1 trial; the best: quantize DynamicInt8, TFLite, 0.25 of the size")
    assert lines[-1] == "Being tried now, or cut off: quantize Float16, TFLite"
    listed = json.loads(asked(project, "trials", "--output", "json").stdout)
    assert [(one["number"], one["verdict"], one["candidate"]) for one in listed] == [(1, "Passed", 1)]


def test_what_was_only_compressed_shows_its_trials_too(project):
    complete(project)
    last = asked(project, "trials").stdout.strip().splitlines()[-1]
    assert last.startswith("1 trial; the best: quantize DynamicInt8")


def test_a_report_is_of_run_alone_and_its_absence_says_so(project):
    never = asked(project, "report").exception
    assert isinstance(never, Invalid) and never.message.endswith(f"run `modelpress run -f {project.file}` first")
    Journal(project.journal).append(TRIAL)
    assert f"see `modelpress trials -f {project.file}`" in asked(project, "report").exception.message
    complete(project)
    told = asked(project, "report").exception.message
    assert "`modelpress compress` measures no candidate through model servers" in told
    assert f"`modelpress run -f {project.file}` does" in told


def test_a_search_that_nobody_began_has_no_trials(project):
    assert "run `modelpress run" in asked(project, "trials").exception.message


def test_where_the_source_is_gone_the_last_run_is_looked_for(project):
    complete(project)
    shutil.rmtree(project.file.parent / "model")
    assert "has no report" in asked(project, "trials").exception.message
    artifact = project.store.artifact(project.key)
    listed = CliRunner().invoke(cli.app, ["trials", "--artifact", str(artifact), "--output", "json"])
    assert [one["number"] for one in json.loads(listed.stdout)] == [1]
