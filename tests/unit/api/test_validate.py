"""`modelpress validate`, `crds` and `schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from modelpress.cli import app

EXAMPLES = Path(__file__).parents[3] / "examples"
TOLD = "recipe: {steps: [{quantize: {scheme: DynamicInt8, learningRate: 0.5}}]}}"
HEAD = "apiVersion: modelpress.dev/v1alpha1\nkind: CompressedModel\nmetadata: {name: resnet50}\n"


@pytest.fixture
def run(tmp_path):
    def run(spec, *options):
        file = tmp_path / "model.yaml"
        file.write_text(HEAD + spec)
        return CliRunner().invoke(app, ["validate", str(file), *options])

    return run


def test_a_good_file_passes(run):
    done = run("spec: {source: {uri: 'pvc://models/x'}, cache: {mode: Enabled}}")
    assert done.exit_code == 0
    assert done.stdout.endswith("model.yaml: resnet50 valid\n")
    assert done.stderr == ""


def test_a_bad_file_ends_with_64_and_every_problem(run):
    done = run("spec: {source: {uri: 'pvc://models/x'}, replicas: 2, cache: {ttl: 1d}}")
    assert done.exit_code == 64
    assert "UnknownField: spec.replicas: unknown field; did you mean spec.serving.replicas?" in done.stderr
    assert 'OutOfBounds: spec.cache.ttl: "1d" is malformed' in done.stderr


def test_what_this_release_refuses_is_told_too(run):
    done = run("spec: {source: {uri: 's3://models/x'}, artifacts: {uri: 'hf://us/models'}, " + TOLD)
    assert done.exit_code == 64
    assert 'ReadOnlyStore: spec.artifacts.uri: "hf://us/models" is not supported' in done.stderr
    assert "warning: spec.recipe.steps[0].quantize.learningRate: 0.5: nothing is trained" in done.stderr


def test_paths_are_for_local_runs(run):
    spec = "spec: {source: {uri: model.keras}}"
    assert "file: and paths are for `modelpress run` (and `validate --local`)" in run(spec).stderr
    assert run(spec, "--local").exit_code == 0


def test_several_pods_on_a_volume_of_the_models_own_are_warned_of(run):
    spec = "spec: {source: {uri: 'pvc://models/x'}, autoscaling: {minReplicas: 2, maxReplicas: 5}}"
    done = run(spec)
    assert done.exit_code == 0
    assert (
        "warning: spec.artifacts: unless the operator has a default store: autoscaling.maxReplicas is 5" in done.stderr
    )
    assert "spec.artifacts" not in run(spec.replace("pvc://models/x", "model.keras"), "--local").stderr


def test_json_is_for_programs(run):
    spec = "spec: {source: {uri: 's3://models/x'}, artifacts: {uri: 'hf://us/models'}, " + TOLD
    (entry,) = json.loads(run(spec, "--output", "json").stdout)
    assert entry["problems"][0]["field"] == "spec.artifacts.uri"
    assert entry["warnings"][0]["field"] == "spec.recipe.steps[0].quantize.learningRate"


@pytest.mark.parametrize(
    "example", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda example: f"{example.parent.name}-{example.stem}"
)
def test_the_examples_are_valid(example):
    done = CliRunner().invoke(app, ["validate", "--local", str(example)])
    assert done.exit_code == 0, done.stderr


def test_files_may_be_given_as_to_kubectl(tmp_path):
    (tmp_path / "model.yaml").write_text(HEAD + "spec: {source: {uri: 'pvc://models/x'}}")
    assert CliRunner().invoke(app, ["validate", "-f", str(tmp_path / "model.yaml")]).exit_code == 0
    none = CliRunner().invoke(app, ["validate"])
    assert (none.exit_code, "name at least one file" in none.stderr) == (2, True)


def test_standard_input_is_a_file():
    text = HEAD + "spec: {source: {uri: 'pvc://models/x'}}"
    assert "standard input: resnet50 valid" in CliRunner().invoke(app, ["validate", "-"], input=text).stdout


def test_the_definition_is_printed():
    definition = YAML(typ="safe", pure=True).load(CliRunner().invoke(app, ["crds"]).stdout)
    assert definition["metadata"]["name"] == "compressedmodels.modelpress.dev"


def test_the_schema_is_printed():
    assert json.loads(CliRunner().invoke(app, ["schema"]).stdout)["title"] == "CompressedModel"
