"""Common requests reach pods when the Job has written them beside the artifact, and not before."""

from __future__ import annotations

from typing import Any

Model = Any


def common(name: str) -> dict[str, Any]:
    return {"prefetch": {"uri": f"pvc://data/{name}.npz"}}


def given(deployment: dict[str, Any]) -> list[str]:
    """What the pods' containers are told of common requests."""
    containers = deployment["spec"]["template"]["spec"]["initContainers"]
    return [flag for one in containers for flag in one["command"] if flag.startswith("--prefetch")]


def test_common_requests_that_were_there_from_the_start_are_given_to_the_first_pods(model: Model) -> None:
    model.change(cache=common("a"))
    model.serves("first")
    fetch, sidecar = given(model.deployment)
    assert fetch.startswith("--prefetch=")
    assert sidecar.startswith("--prefetch-file=")


def test_a_change_of_them_runs_the_job_and_measures_nothing_again(model: Model) -> None:
    model.serves("first")
    model.change(cache=common("a"))
    model.look()
    assert model.progress.stage == "Compressing"
    assert given(model.deployment) == []
    model.compressed("first")
    assert model.progress.stage == "Passed"
    model.look()
    assert len(given(model.deployment)) == 2


def test_pods_keep_the_old_ones_until_the_new_ones_are_written(model: Model) -> None:
    model.change(cache=common("a"))
    model.serves("first")
    before = given(model.deployment)
    model.change(cache=common("b"))
    model.look()
    assert given(model.deployment) == before
    model.compressed("first")
    model.look()
    assert given(model.deployment)[0] != before[0]


def test_without_them_pods_are_told_of_none(model: Model) -> None:
    model.change(cache=common("a"))
    model.serves("first")
    model.change(cache={})
    model.look()
    model.compressed("first")
    model.look()
    assert given(model.deployment) == []
