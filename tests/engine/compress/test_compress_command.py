"""`modelpress compress` by hand: of the same file as `modelpress run`, into the same store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelpress import cli


@pytest.fixture
def file(models, tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(
        f"""
apiVersion: modelpress.dev/v1alpha1
kind: CompressedModel
metadata: {{name: shapes}}
spec:
  source: {{uri: {models["image"]}}}
  recipe:
    format: SavedModel
    steps: [{{prune: {{sparsity: 0.5}}}}]
"""
    )
    return path


def test_candidates_are_told_with_the_folders_in_which_they_lie(file):
    told = CliRunner().invoke(cli.app, ["compress", "-f", str(file)])
    assert told.exit_code == 0, told.output
    summary, candidate, folder = told.stdout.splitlines()
    assert summary == "1 candidate"
    assert candidate.startswith("1: prune Magnitude 50 %, SavedModel, ")
    assert (Path(folder.strip()) / "saved_model.pb").is_file()
    assert Path(folder.strip()).is_relative_to(file.parent / ".modelpress")


def test_a_file_and_a_request_are_two_things_to_do(file, capfd):
    told = CliRunner().invoke(cli.app, ["compress", "-f", str(file), "--request", "request.json"])
    assert told.exit_code == 64
    said = capfd.readouterr().err
    assert "InvalidRequest: --request: --file and --request name two things to do; leave one out" in said


def test_all_that_is_wrong_with_a_file_is_told(file, capfd):
    file.write_text(file.read_text().replace("name: shapes", "name: Shapes").replace("0.5", "2"))
    told = CliRunner().invoke(cli.app, ["compress", "-f", str(file), "--output", "json"])
    assert (told.exit_code, json.loads(told.stdout)["outcome"]) == (64, "Invalid")
    said = capfd.readouterr().err
    assert "metadata.name: " in said and "spec.recipe.steps[0].prune.sparsity: " in said
