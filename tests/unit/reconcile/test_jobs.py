"""What has become of a Job, read from it and its pods."""

from __future__ import annotations

from typing import Any

import pytest

from modelpress.api.message import Message
from modelpress.reconcile import jobs, pods

DONE = Message(outcome="Done", artifact="k").json_line()


def job(*conditions: dict[str, str], suspend: bool = False, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "j", "uid": "u", **metadata},
        "spec": {"suspend": suspend},
        "status": {"conditions": [{"status": "True", **condition} for condition in conditions]},
    }


def pod(
    name: str, state: dict[str, Any], container: str = "compress", owner: str = "u", **status: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": name, "ownerReferences": [{"uid": owner}]},
        "status": {"containerStatuses": [{"name": container, "state": state}], **status},
    }


def worker(index: int, code: int, message: Message | None = None, reason: str = "Completed") -> dict[str, Any]:
    live = ended(str(index), code, message.json_line() if message else "", reason)
    return {**live, "metadata": {**live["metadata"], "annotations": {jobs.INDEX: str(index)}}}


def ended(name: str, code: int, message: str = "", reason: str = "Completed", **more: Any) -> dict[str, Any]:
    terminated = {"exitCode": code, "message": message, "reason": reason}
    return pod(name, {"terminated": terminated}, phase="Failed" if code else "Succeeded", **more)


def seen(live: dict[str, Any], *all_pods: dict[str, Any]) -> jobs.JobSeen:
    return jobs.seen(live, all_pods, container="compress")


COMPLETE = {"type": "Complete", "lastTransitionTime": "2026-11-22T10:00:00Z"}
FAILED = {"type": "Failed", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}


def test_a_job_is_under_way_until_its_controller_says_otherwise() -> None:
    found = seen(job(), ended("1", 0, DONE))
    assert (found.state, found.message, found.has_started) == ("UnderWay", None, True)


def test_a_complete_job_speaks_through_the_pod_that_succeeded() -> None:
    failed = ended("2", 137, Message(outcome="Failed").json_line())
    found = seen(job(COMPLETE), ended("1", 0, DONE), failed, ended("3", 0, "{}", owner="other"))
    assert found.message is not None and found.message.artifact == "k"
    assert found.ended is not None and found.ended.hour == 10


@pytest.mark.parametrize("message", ["", "Killed", "{}", '{"outcome": "Done", "v": 2}'])
def test_a_message_that_cannot_be_read_is_none(message: str) -> None:
    assert seen(job(COMPLETE), ended("1", 0, message)).message is None


def test_only_the_container_that_reports_is_listened_to() -> None:
    assert seen(job(COMPLETE), ended("1", 0, DONE, container="server-source")).message is None


def test_a_failed_job_tells_how_its_last_pod_ended() -> None:
    found = seen(job(FAILED), ended("1", 1, "first"), ended("2", 137, "Traceback ... MemoryError", reason="OOMKilled"))
    assert found.trouble == (
        "BackoffLimitExceeded: Job has reached the specified backoff limit; "
        "the last pod ended with OOMKilled (exit code 137), last words: Traceback ... MemoryError"
    )


def test_where_a_pod_never_got_to_its_work_the_preparation_that_failed_is_quoted() -> None:
    words = "AccessDenied: spec.artifacts.uri: s3://a/ cannot be read"
    end = {"exitCode": 64, "reason": "Error", "message": words}
    waiting = pod("1", {"waiting": {}}, initContainerStatuses=[{"name": "fetch-source", "state": {"terminated": end}}])
    assert (seen(job(FAILED), waiting).trouble or "").endswith(
        f"; fetch-source of the last pod ended with Error (exit code 64), last words: {words}"
    )


def test_a_failed_jobs_message_is_read_too() -> None:
    found = seen(job(FAILED), ended("1", 64, Message(outcome="Invalid", reason="NotFound").json_line()))
    assert found.message is not None and found.message.reason == "NotFound"
    assert "last words" not in (found.trouble or "")


def test_a_job_that_is_deleted_says_nothing_more() -> None:
    assert seen(job(COMPLETE, deletionTimestamp="now"), ended("1", 0, DONE)).state == "Going"


def test_of_several_workers_only_the_first_reports() -> None:
    along = Message(outcome="Done", message="trained along with worker 0")
    found = seen(job(COMPLETE), worker(0, 0, Message(outcome="Done", artifact="k")), worker(1, 0, along))
    assert found.message is not None and found.message.artifact == "k"
    assert seen(job(COMPLETE), worker(1, 0, along)).message is None


def test_the_worker_that_failed_speaks_and_not_those_that_lost_it() -> None:
    lost = Message(outcome="Failed", reason="WorkerLost", message="another worker went away")
    killed = seen(job(FAILED), worker(0, 1, lost), worker(1, 137, reason="OOMKilled"), worker(2, 1, lost))
    assert killed.message is None
    assert "the last pod ended with OOMKilled (exit code 137)" in (killed.trouble or "")
    invalid = Message(outcome="Invalid", reason="NotFound")
    told = seen(job(FAILED), worker(0, 1, lost), worker(1, 64, invalid), worker(2, 1, lost)).message
    assert told is not None and told.reason == "NotFound"


def test_where_all_have_only_lost_each_other_that_is_told() -> None:
    lost = Message(outcome="Failed", reason="WorkerLost", message="another worker went away")
    told = seen(job(FAILED), worker(0, 1, lost), worker(1, 1, lost)).message
    assert told is not None and told.reason == "WorkerLost"


def test_a_queued_job_says_so() -> None:
    assert seen(job(suspend=True)).trouble == "the Job is suspended and waits to be admitted by its queue"


def test_what_keeps_a_pod_from_running_is_told() -> None:
    unscheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes have a GPU",
    }
    assert seen(job(), pod("1", {}, conditions=[unscheduled])).trouble == "Unschedulable: 0/3 nodes have a GPU"
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s" not found'}}
    told = 'CreateContainerConfigError of container compress: secret "s" not found'
    assert seen(job(), pod("1", waiting, conditions=[unscheduled])).trouble == told


def test_ordinary_waiting_is_no_trouble() -> None:
    assert pods.trouble([pod("1", {"waiting": {"reason": "PodInitializing"}})]) is None


def test_a_crash_loop_quotes_the_last_words() -> None:
    crashed = {
        "name": "fetch",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
        "lastState": {"terminated": {"message": "DigestMismatch: candidates/1 is not what was measured\n"}},
    }
    found = pods.trouble([{"metadata": {"name": "p"}, "status": {"initContainerStatuses": [crashed]}}])
    assert found == "CrashLoopBackOff of container fetch: DigestMismatch: candidates/1 is not what was measured"
