"""How far a Deployment is."""

from __future__ import annotations

from typing import Any

import pytest

from modelpress.reconcile import rollout


def deployment(wanted: int = 2, *, seen: bool = True, reason: str = "NewReplicaSetAvailable", **status: int) -> Any:
    return {
        "metadata": {"generation": 3},
        "spec": {"replicas": wanted},
        "status": {
            "observedGeneration": 3 if seen else 2,
            "replicas": wanted,
            "updatedReplicas": wanted,
            "availableReplicas": wanted,
            "readyReplicas": wanted,
            "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
            **status,
        },
    }


@pytest.mark.parametrize(("live", "state"), [
    (None, "Missing"),
    (deployment(), "Complete"),
    (deployment(seen=False), "RollingOut"),
    (deployment(reason="ReplicaSetUpdated"), "RollingOut"),
    (deployment(updatedReplicas=1), "RollingOut"),
    (deployment(availableReplicas=0), "RollingOut"),
    (deployment(5, availableReplicas=1), "Complete"),
    (deployment(reason="ProgressDeadlineExceeded"), "Overdue"),
    (deployment(reason="ProgressDeadlineExceeded", seen=False), "RollingOut"),
    (deployment(0), "Stopped"),
    (deployment(0, replicas=1), "RollingOut"),
])  # fmt: skip
def test_the_state_is_that_of_what_was_applied_last(live: Any, state: str) -> None:
    assert rollout.of(live, ()).state == state


def test_pods_that_may_not_be_made_are_told() -> None:
    live = deployment(reason="ReplicaSetUpdated", replicas=0)
    told = 'pods "x" is forbidden: exceeded quota'
    live["status"]["conditions"].append({"type": "ReplicaFailure", "status": "True", "message": told})
    assert rollout.of(live, ()).trouble == told
