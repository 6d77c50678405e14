"""How far a Deployment is with what was last applied to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from modelpress.kube.kinds import Manifest
from modelpress.reconcile import pods

State = Literal["Missing", "RollingOut", "Complete", "Stopped", "Overdue"]


class Rollout(NamedTuple):
    """`Complete`: all pods are of the newest form, and at least one is available. `Overdue`: not so in time."""

    state: State
    replicas: int = 0
    ready: int = 0
    wanted: int = 0
    trouble: str | None = None
    """Why pods do not get on, or cannot be made."""

    @property
    def is_over(self) -> bool:
        """Whether what was applied is in place."""
        return self.state in ("Complete", "Stopped")


def of(deployment: Manifest | None, all_pods: Sequence[Manifest]) -> Rollout:
    """Scaling up later does not make a rollout incomplete again: pods of the newest form serve meanwhile."""
    if deployment is None or deployment["metadata"].get("deletionTimestamp"):
        return Rollout("Missing")
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    replicas, ready = status.get("replicas", 0), status.get("readyReplicas", 0)
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    progressing, failure = conditions.get("Progressing") or {}, conditions.get("ReplicaFailure") or {}
    trouble = failure.get("message") if failure.get("status") == "True" else pods.trouble(all_pods)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    state: State = "RollingOut"
    if seen and wanted == 0:
        state = "Stopped" if replicas == 0 else "RollingOut"
    elif seen and progressing.get("reason") == "ProgressDeadlineExceeded":
        state = "Overdue"
    elif (
        seen
        and progressing.get("reason") == "NewReplicaSetAvailable"
        and status.get("updatedReplicas", 0) == replicas
        and status.get("availableReplicas", 0) > 0
    ):
        state = "Complete"
    return Rollout(state, replicas, ready, wanted, trouble)
