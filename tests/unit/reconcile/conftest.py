"""A model in a world of facts, without a cluster."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelpress.api.measurement import Compared, LatencyMeasured, Measurements, MetricMeasured
from modelpress.api.message import CandidateReported, Message
from modelpress.api.resource import CompressedModel
from modelpress.api.status import Status
from modelpress.kube import drift
from modelpress.kube.kinds import Manifest
from modelpress.manifests.installation import Installation
from modelpress.reconcile import plan, progress, report, rollout
from modelpress.reconcile.facts import Facts
from modelpress.reconcile.jobs import JobSeen, State
from modelpress.reconcile.plan import Plan
from modelpress.reconcile.progress import Progress
from modelpress.reconcile.world import World
from modelpress.status.cache_effect import Effect
from modelpress.status.gate import Finding

NOW = dt.datetime(2026, 11, 22, 10, 0, 0, tzinfo=dt.UTC)
MANAGER = "modelpress"
INSTALLATION = Installation("reg/compressor:1", "reg/sidecar:1", "reg/serving:1")
UPGRADED = Installation("reg/compressor:2", "reg/sidecar:2", "reg/serving:2", "pvc://elsewhere/store")
SPEC: dict[str, Any] = {
    "source": {"uri": "pvc://models/bert"},
    "recipe": {"steps": [{"quantize": {"scheme": "DynamicInt8"}}]},
    "gate": {"metrics": [{"type": "Accuracy", "maxDrop": 0.01}]},
}


def digest(text: str) -> str:
    return "sha256:" + (text.encode().hex() * 32)[:64]


def compressed(*recipes: str, **more: Any) -> Message:
    return Message(
        outcome="Done",
        **{
            "artifact": "cd" * 32,
            "source_uri": "pvc://models/bert/7",
            "source_digest": digest("source"),
            "source_format": "SavedModel",
            "source_servable_digest": digest("servable"),
            "signatures": ("serving_default",),
            "deterministic": True,
            "compressor": "0.1.0",
            "candidates": tuple(
                CandidateReported(index=number, recipe=recipe, form="TFLite", digest=digest(recipe), size_bytes=25)
                for number, recipe in enumerate(recipes, 1)
            ),
            **more,
        },
    )


def evaluated(drop: float = 0.001, percentile: int = 95, **metric: Any) -> Message:
    told = {"source": 0.9, "value": 0.9 - drop, "drop": drop, "standard_error": 0.0001, **metric}
    return Message(
        outcome="Done",
        evidence="Labelled",
        samples=10_000,
        measured=Measurements(
            metrics=(MetricMeasured(type="Accuracy", **told),),
            size_bytes=Compared(source=100, value=25, ratio=0.25),
            latency_milliseconds=LatencyMeasured(
                percentile=percentile, batch_size=1, gross=Compared(source=10, value=4, ratio=0.4)
            ),
        ),
    )


@dataclass
class Model:
    """One model: its spec, its Jobs and its Deployment; `look` is one reconcile, without writing anything."""

    spec: dict[str, Any] = field(default_factory=lambda: dict(SPEC))
    annotations: dict[str, str] = field(default_factory=dict)
    generation: int = 1
    status: Status | None = None
    jobs: dict[str, JobSeen] = field(default_factory=dict)
    deployment: Manifest | None = None
    autoscaler: Manifest | None = None
    pods: tuple[Manifest, ...] = ()
    refused: tuple[Any, ...] = ()
    now: dt.datetime = NOW
    obstacle: Finding | None = None
    effect: Effect | None = None
    installation: Installation = INSTALLATION

    def upgrade(self) -> None:
        """The operator starts again with other images and another store."""
        self.installation = UPGRADED

    def change(self, **spec: Any) -> None:
        """An edit of the spec by the user."""
        self.spec = {**self.spec, **spec}
        self.generation += 1

    @property
    def facts(self) -> Facts:
        metadata = {
            "name": "bert",
            "namespace": "nlp",
            "uid": "u-1",
            "generation": self.generation,
            "annotations": self.annotations,
        }
        model = CompressedModel.model_validate({"metadata": metadata, "spec": self.spec})
        model = model.model_copy(update={"status": self.status})
        return Facts(
            model=model,
            now=self.now,
            installation=self.installation,
            manager=MANAGER,
            refused=self.refused,
            jobs=self.jobs,
            deployment=self.deployment,
            autoscaler=self.autoscaler,
            pods=self.pods,
            cache_effect=self.effect,
        )

    @property
    def progress(self) -> Progress:
        return progress.of(self.facts)

    @property
    def plan(self) -> Plan:
        return plan.of(self.facts, self.progress)

    def wanted(self, kind: str) -> Manifest | None:
        """The child of a kind that should exist now."""
        return next((child for child in self.plan.children if child["kind"] == kind), None)

    def look(self) -> Status:
        """Apply the Deployment, then write the status; returns it."""
        facts, found, wanted = self.facts, self.progress, self.wanted("Deployment")
        if wanted is not None:
            self._applied(wanted)
        world = World(rollout.of(self.deployment, self.pods), self.autoscaler, self.obstacle)
        self.status = report.of(facts, found, world)
        return self.status

    def _applied(self, wanted: Manifest) -> None:
        stamped, old = drift.stamped(wanted), self.deployment or {}
        if drift.intent(wanted) == (old.get("metadata", {}).get("annotations") or {}).get(drift.HASH_ANNOTATION):
            return
        generation = old.get("metadata", {}).get("generation", 0) + 1
        live = {**stamped, "metadata": {**stamped["metadata"], "generation": generation}}
        if "replicas" not in live["spec"]:
            live["spec"] = {**live["spec"], "replicas": old.get("spec", {}).get("replicas", 1)}
        self.deployment = {**live, "status": old.get("status", {})}

    def job(self, component: str) -> str:
        """Name of the Job that is wanted now."""
        wanted = self.wanted("Job")
        assert wanted is not None and f"-{component}-" in wanted["metadata"]["name"], self.progress
        return str(wanted["metadata"]["name"])

    def has_job(self, component: str, state: State = "UnderWay", message: Message | None = None, **more: Any) -> str:
        """The Job that is wanted now exists, in this state."""
        name = self.job(component)
        wanted = self.wanted("Job")
        assert wanted is not None
        live = drift.stamped(wanted)
        ended = NOW if state in ("Complete", "Failed") else None
        self.jobs = {**self.jobs, name: JobSeen(live, state, message, **{"ended": ended, **more})}
        return name

    def compressed(self, *recipes: str, **more: Any) -> None:
        """The compress Job reports these candidates."""
        self.has_job("compress", "Complete", compressed(*(recipes or ("quantize DynamicInt8",)), **more))

    def evaluated(self, drop: float = 0.001, percentile: int = 95, **metric: Any) -> None:
        """The evaluate Job that is wanted now reports; keyword arguments replace fields of its metric."""
        self.has_job("evaluate", "Complete", evaluated(drop, percentile, **metric))

    def pods_are(self, ready: int, reason: str = "NewReplicaSetAvailable", message: str = "") -> None:
        """What the Deployment's controller reports."""
        assert self.deployment is not None
        wanted = self.deployment["spec"]["replicas"]
        status = "False" if reason == "ProgressDeadlineExceeded" else "True"
        progressing = {"type": "Progressing", "status": status, "reason": reason, "message": message}
        self.deployment = {
            **self.deployment,
            "status": {
                "observedGeneration": self.deployment["metadata"]["generation"],
                "replicas": wanted,
                "updatedReplicas": wanted,
                "readyReplicas": ready,
                "availableReplicas": ready,
                "conditions": [progressing],
            },
        }

    def serves(self, *recipes: str) -> Status:
        """From the spec to pods that are ready."""
        self.look()
        self.compressed(*recipes)
        self.look()
        self.evaluated()
        self.look()
        self.pods_are(1)
        return self.look()

    def condition(self, type_: str) -> tuple[str, str, str] | None:
        """(status, reason, message) as last written."""
        found = [one for one in (self.status or Status()).conditions if one.type == type_]
        return (found[0].status, found[0].reason, found[0].message) if found else None


@pytest.fixture
def model() -> Model:
    return Model()
