"""The CRD on a real API server: accepted, complete, and of one mind with `modelpress validate`."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from modelpress.api import admission, document
from modelpress.api.errors import InvalidResource
from modelpress.kube.client import ApiError

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit" / "api"
CASES = YAML(typ="safe", pure=True).load((UNIT / "cases.yaml").read_text())
CLIENT_SIDE_APPLY_LIMIT = 262_144


def resource(namespace, spec, name="model"):
    source = {"source": {"uri": "pvc://models/x"}}
    return {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "CompressedModel",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**source, **spec},
    }


def collection(namespace):
    return f"/apis/modelpress.dev/v1alpha1/namespaces/{namespace}/compressedmodels"


async def answer(cluster, case):
    """The causes of the server's refusal as (field, message), [] where it accepts."""
    strict = {"fieldValidation": "Strict", "dryRun": "All"}
    name = f"case-{secrets.token_hex(4)}"
    wanted = resource("default", case["spec"], name)
    try:
        if "before" not in case:
            await cluster.request("POST", collection("default"), wanted, query=strict)
            return []
        live = await cluster.request("POST", collection("default"), resource("default", case["before"], name))
        try:
            wanted["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
            await cluster.request("PUT", f"{collection('default')}/{name}", wanted, query=strict)
            return []
        finally:
            await cluster.delete(live)
    except ApiError as error:
        assert error.status in (400, 422), error
        return [(cause.get("field", ""), cause.get("message", "")) for cause in error.causes] or [("", error.message)]


def ours(case):
    """What we say to the same."""
    old = None
    if "before" in case:
        old = admission.admit(resource("default", case["before"]), where="Cluster").document
    return admission.admit(resource("default", case["spec"]), where="Cluster", old=old).problems


@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize("case", CASES, ids=[case["name"].replace(" ", "-") for case in CASES])
async def test_server_and_validate_agree(cluster, case):
    causes, problems = await answer(cluster, case), ours(case)
    assert bool(causes) == ("field" in case), causes
    assert bool(problems) == ("field" in case), problems
    broken_rules = {(problem.field, problem.message) for problem in problems if problem.reason == "Invalid"}
    said = {(field, message.removeprefix("Invalid value: ")) for field, message in causes}
    assert broken_rules <= said
    if "field" in case:
        text = json.dumps(causes)
        assert case["field"].replace("[", ".[").split(".")[-1].strip("[]") in text
        assert case["says"] in text.replace("\\n", "\n")


@pytest.mark.parametrize("file", ["full.yaml", "alternatives.yaml"])
async def test_every_field_is_accepted_and_every_default_is_ours(cluster, namespace, crd, file):
    for wanted in YAML(typ="safe", pure=True).load_all((UNIT / file).read_text()):
        wanted["metadata"]["namespace"] = namespace
        live = await cluster.request("POST", collection(namespace), wanted, query={"fieldValidation": "Strict"})
        assert live["spec"] == admission.admit(wanted, where="Cluster").document["spec"]
        assert document.resource_of(live, where="Cluster")[1] == ()


async def test_the_smallest_manifest_gets_the_defaults_that_validate_gives(cluster, namespace, crd):
    live = await cluster.request("POST", collection(namespace), resource(namespace, {}))
    assert live["spec"] == admission.admit(resource(namespace, {}), where="Cluster").document["spec"]


async def test_the_status_holds_everything_the_operator_says(cluster, namespace, crd):
    await cluster.request("POST", collection(namespace), resource(namespace, {}, name="resnet50"))
    status = YAML(typ="safe", pure=True).load((UNIT / "status.yaml").read_text())
    status["metadata"]["namespace"] = namespace
    path = f"{collection(namespace)}/resnet50"
    query = {"fieldManager": "test", "force": "true"}
    live = await cluster.request(
        "PATCH", f"{path}/status", status, query=query, content_type="application/apply-patch+yaml"
    )
    assert live["status"] == status["status"]
    scale = await cluster.request("GET", f"{path}/scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, status["status"]["replicas"])
    assert scale["status"]["selector"] == status["status"]["selector"]


async def test_the_crd_is_established_without_a_complaint(cluster, crd):
    live = await cluster.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}")
    conditions = {condition["type"]: condition["status"] for condition in live["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions


def test_kubectl_applies_the_crd_from_its_side_without_warnings(kubectl, crd):
    file = ROOT / "crds" / "modelpress.dev_compressedmodels.yaml"
    kubectl("apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", str(file))
    assert len(json.dumps(YAML(typ="safe", pure=True).load(file.read_text()))) < CLIENT_SIDE_APPLY_LIMIT


def _explained(kubectl, path):
    """The server publishes a new resource's documentation a moment after the resource."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return kubectl("explain", path)
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise


def test_kubectl_explains_fields_and_knows_the_short_name(kubectl, crd):
    explained = _explained(kubectl, "cmodel.spec.recipe.steps.prune")
    assert "maxSparsity" in explained
    assert "Default: Magnitude." in " ".join(explained.split())
    assert "compressedmodels" in kubectl("api-resources", "--categories=modelpress", "-o", "name")


def test_columns_show_what_matters(kubectl, namespace, crd):
    kubectl("apply", "-f", "-", stdin=json.dumps(resource(namespace, {}, name="resnet50")))
    headings = kubectl("get", "cmodel", "-n", namespace).splitlines()[0].split()
    assert headings == ["NAME", "READY", "AVAILABLE", "REASON", "PODS", "SIZE", "LATENCY", "DROP", "EVIDENCE", "AGE"]


@pytest.mark.parametrize(
    "text",
    [
        "serving: {replicas: 2.0}",
        "serving: {replicas: 1e0}",
        "recipe: {steps: [{prune: {threshold: 1e-4}}]}",
        "serving: {modelName: off}",
        "serving: {modelName: yes}",
        "serving: {modelName: y}",
        "serving: {modelName: Nn}",
        "serving: {modelName: 2026-11-22}",
        "serving: {modelName: 12:30}",
        "serving: {modelName: ~}",
        "serving: {modelName: 0x10}",
        "serving: {replicas: 0x10}",
        "cache: {ttl: .inf}",
        "cache: {memory: {size: 1Gi}, ttl: 1h30m}",
    ],
)
def test_kubectl_and_validate_read_yaml_alike(kubectl, crd, text):
    file = (
        "apiVersion: modelpress.dev/v1alpha1\nkind: CompressedModel\nmetadata: {name: a, namespace: default}\n"
        f"spec:\n  source: {{uri: 'pvc://models/x'}}\n  {text}\n"
    )
    assert _accepts(
        lambda: kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=file)
    ) == _accepts(lambda: document.parse(file, where="Cluster"))


@pytest.mark.parametrize("name", ["a", "a" * 40, "a" * 41, "1a", "a.b", "A", "a-", "resnet-50"])
async def test_names_leave_room_for_those_of_jobs(cluster, crd, name):
    wanted = resource("default", {}, name)
    try:
        await cluster.request("POST", collection("default"), wanted, query={"dryRun": "All"})
        is_accepted = True
    except ApiError:
        is_accepted = False
    assert is_accepted == (not admission.admit(wanted, where="Cluster").problems)


def _accepts(act):
    try:
        act()
    except (subprocess.CalledProcessError, InvalidResource):
        return False
    return True
