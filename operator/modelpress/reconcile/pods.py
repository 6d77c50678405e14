"""Why pods do not get on, in words, from what the kubelet and the scheduler say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from modelpress.kube.kinds import Manifest

STUCK = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)
"""Reasons to wait that a person should hear of; others pass."""


def of_owner(pods: Iterable[Manifest], uid: str) -> list[Manifest]:
    """The pods that an object controls, oldest first."""
    return sorted(
        (pod for pod in pods if any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences") or ())),
        key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]),
    )


def trouble(pods: Iterable[Manifest]) -> str | None:
    """The first thing that keeps a pod from running; None where there is nothing to tell."""
    return next((told for pod in pods if not _is_over(pod) for told in _troubles(pod)), None)


def has_started(pod: Manifest) -> bool:
    """Whether any of its containers has run."""
    return any("running" in (s.get("state") or {}) or "terminated" in (s.get("state") or {}) for s in _statuses(pod))


def terminated(pod: Manifest, container: str) -> dict[str, Any] | None:
    """How a container ended (exitCode, reason, message, finishedAt), or None."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status["name"] == container:
            found: dict[str, Any] | None = (status.get("state") or {}).get("terminated")
            return found
    return None


def failed_preparation(pod: Manifest) -> tuple[str, dict[str, Any]] | None:
    """Name and end of the init container that kept the others from starting, or None."""
    for status in (pod.get("status") or {}).get("initContainerStatuses") or ():
        end = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated")
        if end and end.get("exitCode"):
            return status["name"], end
    return None


def _troubles(pod: Manifest) -> Iterator[str]:
    for status in _statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in STUCK:
            last = ((status.get("lastState") or {}).get("terminated") or {}).get("message")
            told = last or waiting.get("message")
            yield f"{waiting['reason']} of container {status['name']}" + (f": {told.strip()}" if told else "")
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and condition.get("message"):
            yield f"{condition.get('reason', 'Unschedulable')}: {condition['message']}"


def _statuses(pod: Manifest) -> list[dict[str, Any]]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _is_over(pod: Manifest) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
