"""What to write for a stage: children that should exist, Jobs that should not, and who owns the replicas. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from modelpress.kube import drift
from modelpress.kube.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SERVICE,
    SERVICE_ACCOUNT,
    VOLUME_CLAIM,
    Manifest,
)
from modelpress.manifests import children, names, scaling
from modelpress.reconcile import wanted
from modelpress.reconcile.facts import Facts
from modelpress.reconcile.jobs import JobSeen
from modelpress.reconcile.progress import Progress

PRUNABLE = tuple(
    kind.kind
    for kind in (SERVICE_ACCOUNT, CONFIG_MAP, NETWORK_POLICY, DEPLOYMENT, SERVICE, DISRUPTION_BUDGET, AUTOSCALER)
)
"""Not Jobs, which end by themselves, and never a claim, which holds results."""
BASES = frozenset(kind.kind for kind in (SERVICE_ACCOUNT, VOLUME_CLAIM, CONFIG_MAP))
"""What pods use by its name: where that is somebody else's, nothing that comes after it is written."""
LOST_AFTER = dt.timedelta(seconds=10)
"""A Job's message comes by its pod's watch, which may lag behind the Job's."""
RECHECK_SECONDS = 600.0
OBSTACLE_SECONDS = 30.0
"""What is in the way is not watched, so it is looked for whether it has gone."""
SOON_SECONDS = 2.0


@dataclass(frozen=True)
class Plan:
    """Nothing here has been compared with what exists: unchanged children cost no request."""

    children: tuple[Manifest, ...]
    prunable: tuple[str, ...] = ()
    """Kinds of which other children of the model are deleted."""
    obsolete: tuple[Manifest, ...] = ()
    """Jobs to delete."""
    needless: tuple[Manifest, ...] = ()
    """Finished Jobs whose messages are not needed once the status is written: their time to live begins."""
    time_to_live: int = 0
    """Seconds, of those Jobs."""
    hand_over: Manifest | None = None
    """To be given to another field manager before the children are applied, so that replicas do not fall to 1."""
    recheck: float = RECHECK_SECONDS
    """Seconds."""


def of(facts: Facts, progress: Progress) -> Plan:
    """Foundations first, then the stage's Job, then what serves."""
    foundations = children.foundations(facts.model, facts.installation)
    job = _job(facts, progress)
    new = [job] if job and progress.job is None else []
    needless = _needless(facts, progress)
    replicas, hand_over = _replicas(facts)
    servers = _servers(facts, progress, replicas)
    return Plan(
        children=(*foundations, *new, *servers),
        prunable=PRUNABLE if servers else (),
        obsolete=tuple(one.live for one in _obsolete(facts, progress, job)),
        needless=needless,
        time_to_live=wanted.time_to_live(facts) if needless else 0,
        hand_over=hand_over if servers else None,
        recheck=SOON_SECONDS if progress.job and _is_passing(progress.job) else RECHECK_SECONDS,
    )


def _servers(facts: Facts, progress: Progress, replicas: int | None) -> list[Manifest]:
    if progress.served is None:
        return []
    return children.servers(
        facts.model, progress.served, facts.installation, replicas=replicas, failed_rollout=progress.failed_rollout
    )


def _job(facts: Facts, progress: Progress) -> Manifest | None:
    """The Job of this stage, as it would be made now."""
    if progress.stage == "Compressing":
        return wanted.compression(facts)
    if progress.stage != "Evaluating" or not (progress.compress and progress.evaluating and progress.evaluation_key):
        return None
    return wanted.evaluation(facts, progress.compress, progress.evaluating, progress.evaluation_key)


def _obsolete(facts: Facts, progress: Progress, new: Manifest | None) -> list[JobSeen]:
    """Jobs under way for what is no longer wanted, and this stage's Job where another is wanted in its place.

    While the compress Job is made again, because it was lost, nobody can tell yet which evaluations are wanted.
    """
    if progress.stage in ("Refused", "Suspended"):
        return []
    running = [job for job in facts.jobs.values() if job.state == "UnderWay" and job is not progress.job]
    is_open = progress.stage == "Compressing"
    found = [job for job in running if not (is_open and wanted.works_for(job, facts.key))]
    job = progress.job
    if job and new and (_is_lost(job, facts.now) or _was_made_for_something_else(job, new)):
        found.append(job)
    return found


def _needless(facts: Facts, progress: Progress) -> tuple[Manifest, ...]:
    if progress.stage not in ("Passed", "Failed", "GivenUp", "Concluded"):
        return ()
    return tuple(job.live for job in facts.jobs.values() if job.state in ("Complete", "Failed") and wanted.is_kept(job))


def _is_lost(job: JobSeen, now: dt.datetime) -> bool:
    """Complete without a readable message: made again, it finds what it did and reports in seconds."""
    return job.state == "Complete" and job.message is None and (job.ended is None or now - job.ended > LOST_AFTER)


def _was_made_for_something_else(job: JobSeen, new: Manifest) -> bool:
    """Work that has begun is not thrown away, and what succeeded is not done again."""
    has_not_begun = job.state == "UnderWay" and not job.has_started
    return wanted.may_end_otherwise(job, new) or (has_not_begun and not wanted.was_made_for(job, new))


def _is_passing(job: JobSeen) -> bool:
    """A state that does not last."""
    return job.state in ("Going", "Complete")


def _replicas(facts: Facts) -> tuple[int | None, Manifest | None]:
    """(Replicas to send, what to hand over). The autoscaler may never own them, so ours are handed over first."""
    if not scaling.is_autoscaled(facts.model):
        return facts.model.spec.serving.replicas, None
    live = facts.deployment
    if live is None or not _owns_replicas(live, facts.manager):
        return None, None
    scaled = facts.model.spec.autoscaling
    now, least = live["spec"].get("replicas", 1), scaled.min_replicas if scaled else 1
    if now < least:  # stopped until now: an autoscaler leaves a Deployment with 0 alone
        return least, None
    metadata = {"name": names.server(facts.model), "namespace": names.namespace(facts.model)}
    handed = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata, "spec": {"replicas": now}}
    return None, handed


def _owns_replicas(live: Manifest, manager: str) -> bool:
    owned = drift.owned_fields(live, manager) or {}
    return "f:replicas" in owned.get("f:spec", {})
