"""The Jobs of a model as they would be made now, and whether one that exists was made for that. Pure."""

from __future__ import annotations

import dataclasses

from modelpress.api.base import GROUP
from modelpress.api.message import CandidateReported, Message
from modelpress.kube import drift
from modelpress.kube.kinds import Manifest
from modelpress.manifests import jobs
from modelpress.manifests.installation import Installation
from modelpress.manifests.measured import MeasuredWith
from modelpress.manifests.served import SOURCE, Served
from modelpress.manifests.served import candidate as candidate_servable
from modelpress.reconcile.facts import Facts
from modelpress.reconcile.jobs import JobSeen

ASKED_FOR = f"{GROUP}/asked-for"
"""On a Job: names what the user asked for; images and the store of the installation are no part of it."""
_ANY_INSTALLATION = Installation("any", "any", "any")


def compression(facts: Facts) -> Manifest:
    """The compress Job."""
    return _noted(_compression(facts), asked=_compression(_anywhere(facts)))


def evaluation(facts: Facts, compress: Message, candidate: CandidateReported, key: str) -> Manifest:
    """The evaluate Job of a candidate; `key` is its evaluation key E."""
    asked = _evaluation(_anywhere(facts), compress, candidate, key)
    return _noted(_evaluation(facts, compress, candidate, key), asked=asked)


def _compression(facts: Facts) -> Manifest:
    return jobs.compress(facts.model, facts.request, facts.key, facts.installation)


def _evaluation(facts: Facts, compress: Message, candidate: CandidateReported, key: str) -> Manifest:
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


def _anywhere(facts: Facts) -> Facts:
    """The same in an installation that is always the same."""
    return dataclasses.replace(facts, installation=_ANY_INSTALLATION)


def _noted(job: Manifest, *, asked: Manifest) -> Manifest:
    metadata = job["metadata"]
    annotations = {**(metadata.get("annotations") or {}), ASKED_FOR: drift.intent(asked)}
    return {**job, "metadata": {**metadata, "annotations": annotations}}


def was_made_for(job: JobSeen, wanted: Manifest) -> bool:
    """Whether the Job would be made just so today. One that does not say what it was made for is taken as it is."""
    return _annotation(job.live, drift.HASH_ANNOTATION) in (None, drift.intent(wanted))


def may_end_otherwise(job: JobSeen, wanted: Manifest) -> bool:
    """It failed, and the user has asked for something else since: the same with more memory, or once more.

    Another release of the operator, its images and its store, is no reason: every upgrade would do it all again.
    """
    return job.state == "Failed" and _annotation(job.live, ASKED_FOR) not in (None, _annotation(wanted, ASKED_FOR))


def _annotation(manifest: Manifest, name: str) -> str | None:
    found: str | None = (manifest["metadata"].get("annotations") or {}).get(name)
    return found
