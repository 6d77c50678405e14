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
REQUEST = f"{GROUP}/request"
"""On a Job: the request key R that it works for."""
_TIME_TO_LIVE = "ttlSecondsAfterFinished"
_ANY_INSTALLATION = Installation("any", "any", "any")


def compression(facts: Facts) -> Manifest:
    """The compress Job."""
    return _noted(_compression(facts), facts, asked=_compression(_anywhere(facts)))


def evaluation(facts: Facts, compress: Message, candidate: CandidateReported, key: str) -> Manifest:
    """The evaluate Job of a candidate; `key` is its evaluation key E."""
    asked = _evaluation(_anywhere(facts), compress, candidate, key)
    return _noted(_evaluation(facts, compress, candidate, key), facts, asked=asked)


def time_to_live(facts: Facts) -> int:
    """Seconds that a finished Job is kept for."""
    return int(_compression(facts)["spec"][_TIME_TO_LIVE])


def is_kept(job: JobSeen) -> bool:
    """Whether it stays for as long as its message may be needed: no time to live has been set yet."""
    return _TIME_TO_LIVE not in (job.live.get("spec") or {})


def works_for(job: JobSeen, key: str) -> bool:
    """Whether the Job was made for this request key R."""
    return _annotation(job.live, REQUEST) == key


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


def _noted(job: Manifest, facts: Facts, *, asked: Manifest) -> Manifest:
    metadata, kept = job["metadata"], _without_time_to_live(job)
    notes = {ASKED_FOR: drift.intent(_without_time_to_live(asked)), REQUEST: facts.key}
    return {**kept, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), **notes}}}


def _without_time_to_live(job: Manifest) -> Manifest:
    """Its message is needed until the model is concluded, however long the Jobs after it take."""
    return {**job, "spec": {name: value for name, value in job["spec"].items() if name != _TIME_TO_LIVE}}


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
