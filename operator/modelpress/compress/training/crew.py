"""Who trains together, told by the environment of a pod; known without TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modelpress.api.errors import Invalid, Transient
from modelpress.compress.plan import Plan

TF_CONFIG = "TF_CONFIG"
ADDRESSES_VARIABLE = "MODELPRESS_WORKERS"
"""Addresses `host:port` of all workers, comma-separated, in the order of their indexes; absent: one process."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in pods of an Indexed Job."""


class WorkerLost(Transient):
    """Another worker went away; started again, all go on from the last checkpoint."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "WorkerLost",
            f"another worker went away ({why}); training goes on from its last checkpoint when all are started again",
            field="spec.jobs.workers",
        )


def configuration(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """TF_CONFIG as it is, or made of the addresses and the index of an Indexed Job; None for one process.

    Raises Invalid `InvalidWorkers`.
    """
    if environment.get(TF_CONFIG):
        found: dict[str, Any] = json.loads(environment[TF_CONFIG])
        return found if len(found.get("cluster", {}).get("worker", ())) > 1 else None
    addresses = [one.strip() for one in environment.get(ADDRESSES_VARIABLE, "").split(",") if one.strip()]
    if len(addresses) < 2:
        return None
    index = environment.get(INDEX_VARIABLE, "")
    if not index.isdigit() or int(index) >= len(addresses):
        raise Invalid(
            "InvalidWorkers",
            f"{INDEX_VARIABLE} is {index or 'not set'}, but {ADDRESSES_VARIABLE} names {len(addresses)} workers; "
            f"set it to 0 ... {len(addresses) - 1}",
            field=INDEX_VARIABLE,
        )
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": int(index)}}


def index(environment: Mapping[str, str]) -> int:
    """The number of this worker; 0, the chief, for a process of its own. Raises Invalid `InvalidWorkers`."""
    found = configuration(environment)
    return 0 if found is None else int(found["task"]["index"])


def chief(environment: Mapping[str, str]) -> str:
    """Address `host:port` of worker 0; empty for a process of its own. Raises Invalid `InvalidWorkers`."""
    found = configuration(environment)
    return "" if found is None else str(found["cluster"]["worker"][0])


def trains_together(plan: Plan) -> bool:
    """Whether several workers have anything to do: named steps that train, done once.

    A search and repeated steps decide by measuring what to train next, which one worker does by itself.
    """
    return plan.search is None and plan.iterations == 1 and any(change.trains for change in plan.changes)
