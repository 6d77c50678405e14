"""What has become of a Job: under way, done with a message, or failed; from the Job and its pods."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pydantic

from modelpress.api.message import Message
from modelpress.kube.kinds import Manifest
from modelpress.reconcile import pods

State = Literal["UnderWay", "Complete", "Failed", "Going"]
QUOTE_LIMIT = 300
INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation of the pods of an Indexed Job; worker 0 does what the Job is for, the others only train along."""
WORKER_LOST = "WorkerLost"


class JobSeen(NamedTuple):
    """A Job of ours."""

    live: Manifest
    state: State
    """`Going`: it is being deleted."""
    message: Message | None = None
    """What its pod reported; None while there is nothing that can be read."""
    trouble: str | None = None
    """Why it does not get on, or why it failed."""
    has_started: bool = False
    """Whether any of its containers has run."""
    ended: dt.datetime | None = None

    @property
    def name(self) -> str:
        """Name of the Job."""
        return str(self.live["metadata"]["name"])


def seen(job: Manifest, all_pods: Sequence[Manifest], *, container: str) -> JobSeen:
    """`container` is the one that reports."""
    own = pods.of_owner(all_pods, job["metadata"]["uid"])
    has_started = any(pods.has_started(pod) for pod in own)
    if job["metadata"].get("deletionTimestamp"):
        return JobSeen(job, "Going", has_started=has_started)
    conditions = {
        one["type"]: one for one in (job.get("status") or {}).get("conditions") or () if one["status"] == "True"
    }
    if complete := conditions.get("Complete"):
        message = _message([pod for pod in own if _index(pod) == "0"], container, succeeded=True)
        return JobSeen(job, "Complete", message, has_started=True, ended=_time(complete))
    if failed := conditions.get("Failed"):
        culprits = _culprits(own, container)
        message = _message(culprits, container, succeeded=False)
        return JobSeen(job, "Failed", message, _failure(failed, culprits, container), has_started, _time(failed))
    return JobSeen(job, "UnderWay", None, _trouble(job, own), has_started)


def _message(own: Sequence[Manifest], container: str, *, succeeded: bool) -> Message | None:
    """The newest readable message; of a Job that succeeded, that of a pod that did."""
    for pod in reversed(own):
        end = pods.terminated(pod, container)
        if end is None or (succeeded and end.get("exitCode") != 0):
            continue
        if (found := _read(end)) is not None:
            return found
    return None


def _read(end: Manifest) -> Message | None:
    try:
        return Message.from_json(end.get("message") or "")
    except pydantic.ValidationError:
        return None


def _index(pod: Manifest) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(INDEX, "0"))


def _culprits(own: Sequence[Manifest], container: str) -> list[Manifest]:
    """Pods that failed by themselves, not because of another worker; all where nobody did."""

    def failed_by_itself(pod: Manifest) -> bool:
        end = pods.terminated(pod, container)
        if end is None:
            return pods.failed_preparation(pod) is not None
        message = _read(end)
        return end.get("exitCode") != 0 and (message is None or message.reason != WORKER_LOST)

    return [pod for pod in own if failed_by_itself(pod)] or list(own)


def _failure(condition: Manifest, own: Sequence[Manifest], container: str) -> str:
    """The Job controller's sentence, and how the last pod ended: its reason (OOMKilled) and its last words."""
    told = f"{condition.get('reason', 'Failed')}: {condition.get('message', '')}".strip(": ")
    ends = [("the last pod", end) for pod in own if (end := pods.terminated(pod, container))]
    ends = ends or [(f"{found[0]} of the last pod", found[1]) for pod in own if (found := pods.failed_preparation(pod))]
    if not ends:
        return told
    who, last = ends[-1]
    words = (last.get("message") or "").strip()
    quote = f", last words: {words[-QUOTE_LIMIT:]}" if words and not words.startswith("{") else ""
    return f"{told}; {who} ended with {last.get('reason', 'Error')} (exit code {last.get('exitCode')}){quote}"


def _trouble(job: Manifest, own: Sequence[Manifest]) -> str | None:
    if (job.get("spec") or {}).get("suspend"):
        return "the Job is suspended and waits to be admitted by its queue"
    return pods.trouble(own)


def _time(condition: Manifest) -> dt.datetime | None:
    text = condition.get("lastTransitionTime")
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
