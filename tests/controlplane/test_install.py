"""Chart and kustomize base on a real API server: the rights that they install are enough for the main story.

No node runs the operator's pod here, so the very arguments of the installed Deployment run as a process that holds a
token of the installed ServiceAccount.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from testbed import controlplane
from testbed.controlplane import dies_with, free_port
from testbed.kubelet import Kubelet, until

from modelpress.api.artifact import Form
from modelpress.api.measurement import Compared, LatencyMeasured, Measurements, MetricMeasured
from modelpress.api.message import CandidateReported, Message
from modelpress.kube import client

pytestmark = pytest.mark.xdist_group("install")  # one more control plane, not one in each process

ROOT = Path(__file__).parents[2]
SYSTEM = "modelpress-system"
DIGEST = "sha256:" + "ab" * 32
STORY_SECONDS = 60

MODEL = {
    "apiVersion": "modelpress.dev/v1alpha1",
    "kind": "CompressedModel",
    "metadata": {"name": "story", "namespace": "default"},
    "spec": {"source": {"uri": "pvc://models/story/"}, "artifacts": {"uri": "pvc://models/artifacts"}},
}


@pytest.fixture(scope="module")
def plane(programs, tmp_path_factory):
    """A control plane where nothing of ours was ever installed."""
    with controlplane.running(tmp_path_factory.mktemp("install"), programs) as running:
        yield running


@pytest.fixture
def run(plane, programs):
    """Runs kubectl or helm as admin and returns what it prints."""

    def run(program, *arguments):
        environment = os.environ | {"KUBECONFIG": str(plane.kubeconfig()), "HOME": str(plane.folder)}
        done = subprocess.run(
            [str(programs[program]), *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def by_helm(run):
    run("helm", "install", "modelpress", str(ROOT / "charts/modelpress"), f"--namespace={SYSTEM}", "--create-namespace")
    yield
    run("helm", "uninstall", "modelpress", f"--namespace={SYSTEM}", "--wait")


@pytest.fixture
def by_kustomize(run):
    run("kubectl", "apply", "--server-side", "-k", str(ROOT / "deploy/base"))
    yield
    run("kubectl", "delete", "deployment,service,serviceaccount", "--all", f"--namespace={SYSTEM}", "--wait=false")
    run("kubectl", "delete", "clusterrole,clusterrolebinding", "modelpress", "--wait=false")


@contextlib.asynccontextmanager
async def installed_operator(cluster, plane, tmp_path):
    """The installed Deployment's own arguments, run here under the installed ServiceAccount."""
    deployment = await cluster.get("Deployment", SYSTEM, "modelpress")
    pod = deployment["spec"]["template"]["spec"]
    account = pod["serviceAccountName"]
    token = (
        await cluster.request(
            "POST",
            f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}},
        )
    )["status"]["token"]
    arguments = [argument.replace("$(POD_NAMESPACE)", SYSTEM) for argument in pod["containers"][0]["args"]]
    ports = [f"--metrics-port={free_port()}", f"--health-port={free_port()}"]
    log = tmp_path / "operator.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from modelpress.cli import main; main()",
            *arguments,
            *ports,
            env=os.environ | {"KUBECONFIG": str(plane.kubeconfig_for("installed", token)), "POD_NAME": "operator-0"},
            stdout=out,
            stderr=out,
            preexec_fn=dies_with(os.getpid()),
        )
    try:
        yield log
        assert process.returncode is None, log.read_text()
        process.terminate()
        assert await process.wait() == 0, log.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def compressed():
    form: Form = "TFLite"
    return Message(
        outcome="Done",
        artifact="cd" * 32,
        manifest=DIGEST,
        version=1790000000,
        source_uri="pvc://models/story/",
        source_digest=DIGEST,
        source_format="SavedModel",
        source_size_bytes=1000,
        source_servable_digest=DIGEST,
        signatures=("serving_default",),
        deterministic=True,
        compressor="0.1.0",
        candidates=(
            CandidateReported(index=1, recipe="quantize DynamicInt8", form=form, digest=DIGEST, size_bytes=250),
        ),
    )


def evaluated():
    return Message(
        outcome="Done",
        evaluation="ef" * 32,
        artifact="cd" * 32,
        candidate=1,
        candidate_digest=DIGEST,
        evidence="Synthetic",
        samples=256,
        server="tensorflow_model_server 2.20.0",
        measured=Measurements(
            metrics=(MetricMeasured(type="Fidelity", source=1, value=0.999, drop=0.001, standard_error=0),),
            size_bytes=Compared(source=1000, value=250, ratio=0.25),
            latency_milliseconds=LatencyMeasured(
                percentile=95, batch_size=1, gross=Compared(source=4, value=1, ratio=0.25)
            ),
            memory_bytes=Compared(source=100, value=60, ratio=0.6),
        ),
    )


async def job(cluster, kind):
    jobs = await cluster.list("Job", "default")
    return next((one["metadata"]["name"] for one in jobs if f"-{kind}-" in one["metadata"]["name"]), None)


async def story(cluster):
    """From `kubectl apply` to Ready and back to nothing."""
    kubelet = Kubelet(cluster, "default")
    await cluster.create(MODEL)
    name = await until(lambda: job(cluster, "compress"), "the compress Job exists", STORY_SECONDS)
    await kubelet.finish(name, message=compressed().json_line())
    name = await until(lambda: job(cluster, "evaluate"), "the evaluate Job exists", STORY_SECONDS)
    await kubelet.finish(name, message=evaluated().json_line())
    await until(lambda: cluster.get("Deployment", "default", "story"), "the Deployment exists", STORY_SECONDS)
    await kubelet.make_ready("story")

    async def is_ready():
        live = await cluster.get("CompressedModel", "default", "story")
        conditions = {one["type"]: one["status"] for one in (live.get("status") or {}).get("conditions") or []}
        return live if conditions.get("Ready") == "True" else None

    live = await until(is_ready, "the model is Ready", STORY_SECONDS)
    await cluster.delete(live)

    async def is_gone():
        kinds = ("CompressedModel", "Deployment", "Service", "Job", "ConfigMap", "NetworkPolicy")
        left = [one for kind in kinds for one in await cluster.list(kind, "default")]
        return all(one["metadata"]["name"] == "kube-root-ca.crt" for one in left if one["kind"] != "Service") and all(
            one["metadata"]["name"] == "kubernetes" for one in left if one["kind"] == "Service"
        )

    await until(is_gone, "nothing is left", STORY_SECONDS)


@pytest.mark.parametrize("install", ["by_helm", "by_kustomize"])
async def test_an_installed_release_finishes_the_main_story_with_the_rights_it_installs(
    install, plane, run, tmp_path, request
):
    request.getfixturevalue(install)
    run("kubectl", "wait", "--for=condition=Established", "crd/compressedmodels.modelpress.dev", "--timeout=30s")
    async with client.connect(str(plane.kubeconfig()), manager="test") as cluster:
        async with installed_operator(cluster, plane, tmp_path) as log:
            await story(cluster)
        assert "orbidden" not in log.read_text()


def test_the_chart_keeps_the_definition_when_it_is_uninstalled(run, by_helm):
    kept = run("kubectl", "get", "crd", "compressedmodels.modelpress.dev", "-o", "yaml")
    assert "helm.sh/resource-policy: keep" in kept


def test_the_operators_pod_meets_pod_security_restricted(run, plane):
    run("kubectl", "create", "namespace", "restricted")
    run("kubectl", "label", "namespace", "restricted", "pod-security.kubernetes.io/warn=restricted")
    environment = os.environ | {"KUBECONFIG": str(plane.kubeconfig())}
    chart = str(ROOT / "charts/modelpress")
    shown = subprocess.run(
        [
            "sh",
            "-c",
            f"'{plane.programs['helm']}' template modelpress '{chart}' --namespace restricted --kube-version 1.36.0"
            " --show-only templates/deployment.yaml | "
            f"'{plane.programs['kubectl']}' apply --server-side --dry-run=server -f -",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Warning" not in shown.stderr


def test_values_that_the_chart_does_not_know_are_refused(plane):
    chart = str(ROOT / "charts/modelpress")
    refused = subprocess.run(
        [str(plane.programs["helm"]), "template", "modelpress", chart, "--kube-version=1.36.0", "--set", "replica=2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert "additional properties 'replica' not allowed" in refused.stderr
