"""What the status alone tells of a model: a revision that has passed already, or a generation that failed for good.

Looked at before any Job, so that Jobs which are gone (their time to live is over) are not made again for what is known.
"""

from __future__ import annotations

from modelpress.api.status import Revision
from modelpress.manifests.measured import MeasuredWith
from modelpress.reconcile.facts import Facts
from modelpress.status import conditions, gate, revision

ROLLOUT_FAILED = "RolloutFailed"


def revision_of(facts: Facts) -> Revision | None:
    """A passing revision of the very inputs that are wanted: the one being rolled out, else the current one."""
    candidate, current = facts.status.candidate, facts.status.current
    passed = conditions.is_true(facts.status.conditions, "GatePassed")
    if candidate and (passed or revision.is_source(candidate)) and _stands(facts, candidate):
        return candidate
    return current if current and _stands(facts, current) else None


def _stands(facts: Facts, known: Revision) -> bool:
    wanted_image = facts.model.spec.serving.image
    measured = facts.measured_with
    return (
        known.inputs_digest == facts.inputs
        and revision.located(known.uri) is not None
        and known.digest is not None
        and wanted_image in (None, known.image)
        and (measured is None or measured == MeasuredWith.wanted(facts.model))
        and _still_passes(facts, known)
    )


def _still_passes(facts: Facts, known: Revision) -> bool:
    """The verdict stands for this generation; for another one the limits may have changed, so it is judged again."""
    passed = facts.condition("GatePassed")
    is_of_this_generation = passed is not None and passed.observed_generation == facts.generation
    limits = facts.model.spec.gate
    if revision.is_source(known):
        return is_of_this_generation and limits.on_failure == "ServeSource"
    if is_of_this_generation and passed is not None and passed.status == "True":
        return True
    measured = revision.measurements(known, percentile=limits.latency.percentile)
    return gate.judge(measured, limits, samples=known.samples or 0).passed


def is_concluded(facts: Facts) -> bool:
    """This generation has failed for good, and the Jobs that said so are gone."""
    candidate, stalled = facts.status.candidate, facts.condition("Stalled")
    if stalled is None or candidate is None or candidate.inputs_digest != facts.inputs:
        return False
    verdicts = [facts.condition(type_) for type_ in ("Compressed", "GatePassed")]
    has_failed = stalled.reason == ROLLOUT_FAILED or any(one and one.status == "False" for one in verdicts)
    return has_failed and stalled.observed_generation == facts.generation and facts.compress_job not in facts.jobs
