"""Reads the picture that decisions are made from: the watched copies, no requests."""

from __future__ import annotations

import datetime as dt

import pydantic

from modelpress.api import support
from modelpress.api.errors import Problem
from modelpress.api.resource import CompressedModel
from modelpress.kube.cache import Cache
from modelpress.kube.kinds import AUTOSCALER, DEPLOYMENT, JOB, POD, Manifest
from modelpress.manifests import children, labels, names
from modelpress.manifests import jobs as job_manifests
from modelpress.manifests.installation import Installation
from modelpress.reconcile import jobs
from modelpress.reconcile.facts import Facts
from modelpress.reconcile.jobs import JobSeen
from modelpress.status.cache_effect import Effect

REPORTERS = {"compress": job_manifests.COMPRESS, "evaluate": job_manifests.EVALUATE}
"""Component of a Job to the container whose message counts."""

UNREADABLE_RESOURCE = "UnreadableResource"


class Unreadable(Exception):
    """The object is not what our models describe: an older CRD let it in, or a newer one serves it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def parsed(live: Manifest) -> CompressedModel:
    """The resource; raises Unreadable with the first field that does not fit."""
    try:
        return CompressedModel.model_validate(live)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Unreadable(Problem(field, first["msg"], UNREADABLE_RESOURCE)) from error


def gather(
    model: CompressedModel,
    cache: Cache,
    installation: Installation,
    *,
    manager: str,
    now: dt.datetime,
    cache_effect: Effect | None = None,
) -> Facts:
    """Facts of a model that has a uid."""
    namespace, name = names.namespace(model), model.metadata.name
    pods = cache.labelled(namespace, name, POD.kind)
    return Facts(
        model=model,
        now=now,
        installation=installation,
        manager=manager,
        refused=(*support.refusals(model, "Cluster"), *children.refusals(model, installation)),
        jobs={job.name: job for job in _jobs(model, cache, pods)},
        deployment=_own(cache, DEPLOYMENT.kind, model),
        autoscaler=_own(cache, AUTOSCALER.kind, model),
        pods=tuple(pod for pod in pods if _component(pod) == "server"),
        cache_effect=cache_effect,
    )


def _jobs(model: CompressedModel, cache: Cache, pods: list[Manifest]) -> list[JobSeen]:
    return [
        jobs.seen(job, pods, container=REPORTERS[_component(job)])
        for job in cache.children(model.metadata.uid or "", JOB.kind)
        if _component(job) in REPORTERS
    ]


def _own(cache: Cache, kind: str, model: CompressedModel) -> Manifest | None:
    """The server's object of a kind, unless it belongs to somebody else."""
    live = cache.seen(kind, names.namespace(model), names.server(model))
    owners = (live or {}).get("metadata", {}).get("ownerReferences") or ()
    return live if any(owner["uid"] == model.metadata.uid for owner in owners) else None


def _component(live: Manifest) -> str:
    return str((live["metadata"].get("labels") or {}).get(labels.COMPONENT_LABEL, ""))
