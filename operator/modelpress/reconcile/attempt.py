"""Whether the rollout of a revision has failed: its pods were late, so the revision before it was put back.

What failed is remembered on the Deployment that was put back, by a key over all that the pods depend on: a change of
image, resources or deadline makes another rollout, which is judged anew.
"""

from __future__ import annotations

from typing import NamedTuple

from modelpress.api.status import Revision
from modelpress.kube.kinds import Manifest
from modelpress.manifests import serving
from modelpress.manifests.served import Served
from modelpress.reconcile import rollout
from modelpress.reconcile.facts import Facts


class FailedRollout(NamedTuple):
    """One that was given up."""

    key: str
    """As in the annotation of the Deployment."""
    message: str


def failed(facts: Facts, tried: Revision, served: Served | None) -> FailedRollout | None:
    """The failed rollout of just this revision in just this form, while another one serves; else None."""
    current = facts.status.current
    if served is None or current is None or current.revision == tried.revision:
        return None
    key = serving.rollout_key(facts.model, served)
    if _annotation(facts.deployment, serving.ROLLOUT) == key:
        rolled = rollout.of(facts.deployment, facts.pods)
        trouble = f": {rolled.trouble}" if rolled.trouble else ""
        told = f"Not ready within {facts.model.spec.rollout.progress_deadline}{trouble}"
        return FailedRollout(key, told) if rolled.state == "Overdue" else None
    if _annotation(facts.deployment, serving.FAILED_ROLLOUT) == key:
        return FailedRollout(key, _told(facts, tried) or "Its pods did not become ready in time")
    return None


def _told(facts: Facts, tried: Revision) -> str | None:
    fates = (past for past in facts.status.revisions if past.revision == tried.revision and past.outcome == "Failed")
    return next((past.reason for past in fates), None)


def _annotation(deployment: Manifest | None, name: str) -> str | None:
    found: str | None = ((deployment or {}).get("metadata", {}).get("annotations") or {}).get(name)
    return found
