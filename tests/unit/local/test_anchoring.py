"""Relative paths of a file start where the file lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpress.api.errors import Invalid, InvalidResource
from modelpress.compress.local import anchoring

RESOURCE = """
apiVersion: modelpress.dev/v1alpha1
kind: CompressedModel
metadata: {name: digits}
spec:
  source: {uri: data/model}
  data: {evaluation: {uri: 'file:val.npz'}}
  artifacts: {uri: /var/store}
"""


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("data/model", "/work/data/model"),
        ("file:data/model", "/work/data/model"),
        ("file:///data/model", "file:///data/model"),
        ("/data/model", "/data/model"),
        ("pvc://claim/model", "pvc://claim/model"),
        ("./a:b/c", "/work/a:b/c"),
    ],
)
def test_a_uri_is_meant_from_the_files_directory(uri, expected):
    assert anchoring.absolute(uri, Path("/work")) == expected


def test_every_uri_of_a_file_is_made_absolute(tmp_path):
    (tmp_path / "model.yaml").write_text(RESOURCE)
    resource, _ = anchoring.load(tmp_path / "model.yaml")
    assert resource.spec.source.uri == str(tmp_path / "data/model")
    assert resource.spec.data.evaluation.uri == str(tmp_path / "val.npz")
    assert resource.spec.artifacts.uri == "/var/store"


def test_a_file_of_two_resources_is_refused(tmp_path):
    (tmp_path / "model.yaml").write_text(RESOURCE + "---" + RESOURCE.replace("digits", "letters"))
    with pytest.raises(Invalid, match="digits, letters"):
        anchoring.load(tmp_path / "model.yaml")


def test_a_field_that_cannot_be_honoured_is_refused(tmp_path):
    (tmp_path / "model.yaml").write_text(RESOURCE + "  cache: {ttl: 0s}\n")
    with pytest.raises(InvalidResource, match="ttl"):
        anchoring.load(tmp_path / "model.yaml")


def test_a_field_that_only_a_cluster_honours_is_told(tmp_path):
    (tmp_path / "model.yaml").write_text(RESOURCE + "  autoscaling: {maxReplicas: 3}\n")
    _, reported = anchoring.load(tmp_path / "model.yaml")
    assert any("autoscaling" in problem.field for problem in reported)
