"""`modelpress plan`: what would be made, without a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from typer.testing import CliRunner

from modelpress.api.resource import CompressedModel
from modelpress.cli import app
from modelpress.manifests import preview
from modelpress.manifests.installation import Installation

MODEL = """\
apiVersion: modelpress.dev/v1alpha1
kind: CompressedModel
metadata: {name: churn, namespace: ml}
spec:
  source: {uri: "pvc://models/churn/"}
"""


def test_objects_appear_in_three_steps(a_model: Callable[..., CompressedModel], installation: Installation) -> None:
    first, second, third = preview.of(a_model(), installation, preview.Assumed())
    assert [one["kind"] for one in first.manifests] == ["ServiceAccount", "PersistentVolumeClaim", "Job"]
    assert [one["kind"] for one in second.manifests] == ["Job"]
    assert [one["kind"] for one in third.manifests] == ["ConfigMap", "NetworkPolicy", "Deployment", "Service"]
    assert "assumed" in second.note and "assumed" in third.note


def test_a_file_is_planned_as_yaml_that_kubectl_reads(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(MODEL)
    result = CliRunner().invoke(app, ["plan", str(file), "--server-image=serving:9"])
    assert result.exit_code == 0, result.output
    made = list(yaml.safe_load_all(result.stdout))
    assert [one["metadata"]["namespace"] for one in made] == ["ml"] * len(made)
    deployment = next(one for one in made if one["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "serving:9"


def test_a_default_store_makes_a_claim_of_its_own_needless(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(MODEL)
    result = CliRunner().invoke(app, ["plan", str(file), "--default-store=pvc://shared/artifacts"])
    assert "kind: PersistentVolumeClaim" not in result.stdout
    assert "Results go to pvc://shared/artifacts." in result.stdout


def test_several_pods_need_a_store_that_all_of_them_reach(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(MODEL + "  serving: {replicas: 3}\n")
    result = CliRunner().invoke(app, ["plan", str(file)])
    assert result.exit_code != 0
    assert "spec.artifacts: serving.replicas is 3" in str(result.exception)
    assert CliRunner().invoke(app, ["plan", str(file), "--default-store=pvc://shared/artifacts"]).exit_code == 0


def test_a_plan_repeats_what_is_equal_rather_than_to_refer_to_it(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(MODEL + "  commonPod: {env: [{name: A, value: b}]}\n")
    result = CliRunner().invoke(app, ["plan", str(file)])
    assert result.exit_code == 0, result.output
    assert "&id" not in result.stdout


def test_a_field_that_is_not_honoured_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(MODEL + "  jobs: {queueName: research}\n")
    result = CliRunner().invoke(app, ["plan", str(file)])
    assert result.exit_code != 0
    assert "spec.jobs.queueName" in str(result.exception)
