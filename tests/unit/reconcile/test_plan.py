"""What is written for a stage, what is deleted, and who owns the number of pods."""

from __future__ import annotations

from typing import Any

import pytest

from modelpress.api.message import Message
from modelpress.kube.kinds import Manifest

Model = Any


def owned_by(manager: str, deployment: Manifest) -> Manifest:
    """The same Deployment, whose replicas belong to this field manager."""
    entry = {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    return {**deployment, "metadata": {**deployment["metadata"], "managedFields": [entry]}}


def test_jobs_and_claims_are_never_pruned(model: Model) -> None:
    model.serves("first")
    assert {"Job", "PersistentVolumeClaim"}.isdisjoint(model.plan.prunable)
    assert "PodDisruptionBudget" in model.plan.prunable


def test_nothing_is_pruned_while_it_is_not_known_what_serves(model: Model) -> None:
    assert model.plan.prunable == ()


def test_a_job_for_inputs_that_are_no_longer_wanted_is_deleted(model: Model) -> None:
    name = model.has_job("compress")
    model.change(source={"uri": "pvc://models/other"})
    assert [job["metadata"]["name"] for job in model.plan.obsolete] == [name]
    assert model.job("compress") != name


def test_finished_jobs_are_left_to_their_time_to_live(model: Model) -> None:
    model.has_job("compress", "Failed")
    model.change(source={"uri": "pvc://models/other"})
    assert model.plan.obsolete == ()


def test_an_evaluation_under_way_outlives_the_compress_job_that_it_follows(model: Model) -> None:
    model.compressed("first")
    compress, evaluate = next(iter(model.jobs)), model.has_job("evaluate", has_started=True)
    del model.jobs[compress]
    assert model.job("compress") == compress
    assert model.plan.obsolete == ()
    model.compressed("first")
    assert (model.progress.job.name, model.plan.obsolete) == (evaluate, ())


def test_an_evaluation_of_another_candidate_goes_when_the_compress_job_was_made_again(model: Model) -> None:
    model.compressed("first")
    compress, evaluate = next(iter(model.jobs)), model.has_job("evaluate", has_started=True)
    del model.jobs[compress]
    model.compressed("second")
    assert [job["metadata"]["name"] for job in model.plan.obsolete] == [evaluate]


def test_an_evaluation_for_other_inputs_goes_at_once(model: Model) -> None:
    model.compressed("first")
    evaluate = model.has_job("evaluate", has_started=True)
    model.change(source={"uri": "pvc://models/other"})
    assert [job["metadata"]["name"] for job in model.plan.obsolete] == [evaluate]


def test_a_job_is_made_without_a_time_to_live(model: Model) -> None:
    assert "ttlSecondsAfterFinished" not in model.wanted("Job")["spec"]
    model.compressed("first")
    assert "ttlSecondsAfterFinished" not in model.wanted("Job")["spec"]
    assert model.plan.needless == ()


@pytest.mark.parametrize("drop", [0.001, 0.5])
def test_the_time_to_live_of_finished_jobs_begins_with_the_conclusion(drop: float, model: Model) -> None:
    model.change(jobs={"ttlAfterFinished": "10m"})
    model.compressed("first")
    model.evaluated(drop)
    assert {job["metadata"]["name"] for job in model.plan.needless} == set(model.jobs)
    assert model.plan.time_to_live == 600
    for job in model.jobs.values():
        job.live["spec"]["ttlSecondsAfterFinished"] = 600
    assert model.plan.needless == ()


def test_another_time_to_live_does_not_make_a_failed_job_again(model: Model) -> None:
    failed("compress", model)
    model.change(jobs={"ttlAfterFinished": "10m"})
    assert model.progress.stage == "Failed"


def test_a_changed_jobs_block_makes_a_job_anew_only_if_no_pod_has_started(model: Model) -> None:
    name = model.has_job("compress")
    model.change(jobs={"resources": {"limits": {"memory": "32Gi"}}})
    assert [job["metadata"]["name"] for job in model.plan.obsolete] == [name]
    model.jobs = {name: model.jobs[name]._replace(has_started=True)}
    assert model.plan.obsolete == ()


MORE_MEMORY = {"resources": {"limits": {"memory": "32Gi"}}}


def failed(component: str, model: Model, message: Message | None = None) -> str:
    """The Job of this stage fails, and the model says so."""
    if component == "evaluate":
        model.compressed("first")
    name: str = model.has_job(component, "Failed", message, trouble="OOMKilled")
    model.look()
    return name


@pytest.mark.parametrize("message", [None, Message(outcome="Invalid", reason="NotFound", message="nothing there")])
@pytest.mark.parametrize(
    ("component", "change"),
    [
        ("compress", {"jobs": MORE_MEMORY}),
        ("compress", {"jobs": {"timeout": "9h"}}),
        ("compress", {"commonPod": {"env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]}}),
        ("evaluate", {"jobs": MORE_MEMORY}),
        ("evaluate", {"serving": {"pod": {"nodeSelector": {"pool": "large"}}}}),
    ],
)
def test_a_job_that_failed_is_made_again_when_it_is_asked_for_in_another_form(
    component: str, change: dict[str, Any], message: Message | None, model: Model
) -> None:
    name = failed(component, model, message)
    assert model.plan.obsolete == ()
    model.change(**change)
    assert [job["metadata"]["name"] for job in model.plan.obsolete] == [name]
    assert model.wanted("Job") is None
    model.look()
    assert model.condition("Stalled") is None
    del model.jobs[name]
    assert model.job(component) == name
    model.has_job(component)
    assert model.plan.obsolete == ()


@pytest.mark.parametrize("component", ["compress", "evaluate"])
def test_an_edit_that_is_none_of_its_business_does_not_make_a_failed_job_again(component: str, model: Model) -> None:
    failed(component, model)
    model.change(rollout={"progressDeadline": "20m"}, revisionHistoryLimit=3)
    assert model.plan.obsolete == ()
    assert model.progress.stage == "Failed"


@pytest.mark.parametrize("component", ["compress", "evaluate"])
def test_an_upgrade_of_the_operator_does_not_make_a_failed_job_again(component: str, model: Model) -> None:
    failed(component, model)
    model.upgrade()
    assert (model.progress.stage, model.plan.obsolete) == ("Failed", ())


def test_a_failed_job_that_does_not_say_what_was_asked_for_is_taken_as_it_is(model: Model) -> None:
    name = failed("compress", model)
    del model.jobs[name].live["metadata"]["annotations"]["modelpress.dev/asked-for"]
    model.change(jobs=MORE_MEMORY)
    assert model.progress.stage == "Failed"


def test_a_failed_evaluation_of_the_same_bytes_is_made_again_when_it_is_asked_for(model: Model) -> None:
    name = failed("evaluate", model)
    model.annotations = {"modelpress.dev/reconcile-requested-at": "2026-11-22T10:00:00Z"}
    model.compressed("first")
    assert [job["metadata"]["name"] for job in model.plan.obsolete] == [name]
    del model.jobs[name]
    assert model.job("evaluate") == name


def test_a_job_that_succeeded_is_never_made_again(model: Model) -> None:
    model.compressed("first")
    model.evaluated(0.5)
    model.change(jobs=MORE_MEMORY, serving={"pod": {"nodeSelector": {"pool": "large"}}})
    assert (model.plan.obsolete, model.progress.reason) == ((), "GateFailed")
    model.annotations = {"modelpress.dev/reconcile-requested-at": "2026-11-22T10:00:00Z"}
    model.compressed("first")
    assert (model.plan.obsolete, model.progress.reason) == ((), "GateFailed")


def test_suspend_makes_no_failed_job_again(model: Model) -> None:
    failed("compress", model)
    model.change(jobs=MORE_MEMORY, suspend=True)
    assert model.plan.obsolete == ()
    model.change(suspend=False)
    assert len(model.plan.obsolete) == 1


def test_a_job_that_is_going_is_waited_for(model: Model) -> None:
    model.has_job("compress", "Going")
    assert model.wanted("Job") is None
    assert model.plan.obsolete == ()
    assert model.plan.recheck < 10


def test_suspend_deletes_no_job(model: Model) -> None:
    model.has_job("compress")
    model.change(source={"uri": "pvc://models/other"}, suspend=True)
    assert model.plan.obsolete == ()


@pytest.mark.parametrize("serving", [{"replicas": 0}, {"replicas": 1}, {"replicas": 7}])
def test_without_an_autoscaler_the_resource_says_how_many_pods(serving: dict[str, int], model: Model) -> None:
    model.serves("first")
    model.change(serving=serving)
    assert model.wanted("Deployment")["spec"]["replicas"] == serving["replicas"]
    assert model.plan.hand_over is None


def test_a_new_deployment_under_an_autoscaler_starts_without_a_number(model: Model) -> None:
    model.change(autoscaling={"maxReplicas": 5})
    model.compressed("first")
    model.evaluated()
    assert "replicas" not in model.wanted("Deployment")["spec"]
    assert model.plan.hand_over is None


def test_our_replicas_are_handed_over_before_they_are_left_out(model: Model) -> None:
    model.change(serving={"replicas": 4})
    model.serves("first")
    model.deployment = owned_by("modelpress", model.deployment)
    model.change(serving={}, autoscaling={"maxReplicas": 9})
    assert model.plan.hand_over["spec"] == {"replicas": 4}
    assert model.plan.hand_over["metadata"] == {"name": "bert", "namespace": "nlp"}
    assert "replicas" not in model.wanted("Deployment")["spec"]


def test_replicas_that_are_not_ours_are_left_alone(model: Model) -> None:
    model.serves("first")
    model.deployment = owned_by("kube-controller-manager", model.deployment)
    model.change(autoscaling={"maxReplicas": 9})
    assert model.plan.hand_over is None
    assert "replicas" not in model.wanted("Deployment")["spec"]


def test_a_stopped_model_is_woken_before_its_autoscaler_gets_it(model: Model) -> None:
    model.change(serving={"replicas": 0}, autoscaling={"minReplicas": 2, "maxReplicas": 9})
    model.serves("first")
    assert model.wanted("Deployment")["spec"]["replicas"] == 0
    assert model.wanted("HorizontalPodAutoscaler") is None
    model.deployment = owned_by("modelpress", model.deployment)
    model.change(serving={})
    assert model.wanted("Deployment")["spec"]["replicas"] == 2
    assert model.plan.hand_over is None
