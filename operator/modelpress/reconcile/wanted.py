"""The Jobs of a model as they would be made now, and whether one that exists was made for that. Pure."""

from __future__ import annotations

from modelpress.api.message import CandidateReported, Message
from modelpress.kube import drift
from modelpress.kube.kinds import Manifest
from modelpress.manifests import jobs
from modelpress.manifests.measured import MeasuredWith
from modelpress.manifests.served import SOURCE, Served
from modelpress.manifests.served import candidate as candidate_servable
from modelpress.reconcile.facts import Facts
from modelpress.reconcile.jobs import JobSeen


def compression(facts: Facts) -> Manifest:
    """The compress Job."""
    return jobs.compress(facts.model, facts.request, facts.key, facts.installation)


def evaluation(facts: Facts, compress: Message, candidate: CandidateReported, key: str) -> Manifest:
    """The evaluate Job of a candidate; `key` is its evaluation key E."""
    request = facts.request
    measured = Served(
        store=request.store.rstrip("/"),
        artifact=compress.artifact or "",
        servable=candidate_servable(candidate.index),
        digest=candidate.digest,
        form=candidate.form,
        image=facts.image,
        sidecar_image=facts.installation.sidecar_image,
        measured=MeasuredWith.wanted(facts.model),
    )
    source = measured._replace(servable=SOURCE, digest=compress.source_servable_digest or "", form="SavedModel")
    return jobs.evaluate(
        facts.model,
        request,
        key,
        facts.installation,
        source=source,
        candidate=measured,
        index=candidate.index,
    )


def was_made_for(job: JobSeen, wanted: Manifest) -> bool:
    """Whether the Job would be made just so today. One that does not say what it was made for is taken as it is."""
    made_for = (job.live["metadata"].get("annotations") or {}).get(drift.HASH_ANNOTATION)
    return made_for in (None, drift.intent(wanted))


def may_end_otherwise(job: JobSeen, wanted: Manifest) -> bool:
    """It failed, and what was asked of it has changed since: the same work with more memory, or asked for again."""
    return job.state == "Failed" and not was_made_for(job, wanted)
