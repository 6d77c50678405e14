"""What is written for a stage, what is deleted, and who owns the number of pods."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_a_changed_jobs_block_makes_a_job_anew_only_if_no_pod_has_started(model: Model) -> None:
    name = model.has_job("compress")
    model.change(jobs={"resources": {"limits": {"memory": "32Gi"}}})
    assert [job["metadata"]["name"] for job in model.plan.obsolete] == [name]
    model.jobs = {name: model.jobs[name]._replace(has_started=True)}
    assert model.plan.obsolete == ()


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
