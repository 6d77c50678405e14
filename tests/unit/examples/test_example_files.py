"""Every example is a file that a run takes, and that a cluster takes once its paths are claims; none is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from modelpress.api import document, support
from modelpress.api import request as requests
from modelpress.api.resource import CompressedModel
from modelpress.compress import plan
from modelpress.manifests import children, preview
from modelpress.manifests.installation import Installation

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(EXAMPLES.glob("*/*.yaml"))
FOLDERS = sorted({file.parent for file in FILES})
REFERENCE_CASES = {
    *("resnet50", "resnet50-full", "sentiment", "vgg", "cnn224"),
    *("basic-pitch", "crepe", "movielens", "guesslang"),
}

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")


def in_cluster(file: Path) -> CompressedModel:
    """The example with every path moved to a claim: `data/x` becomes `pvc://models/x`."""
    text = file.read_text().replace("data/", "pvc://models/")
    (resource,) = document.parse(text, where="Cluster")
    return resource


def test_each_reference_case_is_an_example():
    assert {folder.name for folder in FOLDERS} >= REFERENCE_CASES


@each_file
def test_a_run_takes_it(file: Path):
    (resource,) = document.load(file, where="Local")
    assert support.refusals(resource, "Local") == ()
    request = requests.of_resource(resource, store="/store")
    made = plan.of_recipe(request.recipe, device=request.target.device)
    assert made.changes or made.builds or made.search


@each_file
def test_a_cluster_takes_it_and_its_gate_is_judged_before_it_serves(file: Path):
    resource = in_cluster(file)
    installation = Installation(default_store="pvc://artifacts/")
    assert support.refusals(resource) == children.refusals(resource, installation) == ()
    sections = preview.of(resource, installation, preview.Assumed())
    kinds = [{one["kind"] for one in section.manifests} for section in sections]
    assert "Job" in kinds[0] and "Job" in kinds[1] and "Deployment" in kinds[2]


@each_file
def test_it_is_listed_and_its_readme_says_how_to_run_it(file: Path):
    linked = f"{file.parent.name}/{file.name if file.name != 'model.yaml' else ''}"
    assert f"({linked})" in (EXAMPLES / "README.md").read_text()
    page = (file.parent / "README.md").read_text()
    assert f"python examples/{file.parent.name}/prepare.py" in page
    assert f"modelpress run -f examples/{file.parent.name}/{file.name}" in page


@each_file
def test_prepare_makes_what_the_file_names(file: Path):
    script = (file.parent / "prepare.py").read_text()
    spec = yaml.safe_load(file.read_text())["spec"]
    for place in (spec["source"], *spec["data"].values()):
        folder, name = place["uri"].rstrip("/").split("/")
        assert folder == "data"
        assert f"data/{name}" in script, "its first sentences say what it writes"


def test_no_two_have_one_name():
    names = [yaml.safe_load(file.read_text())["metadata"]["name"] for file in FILES]
    assert len(names) == len(set(names))
