"""The watched cache: newest wins, gone stays gone, and the ways to look things up."""

from __future__ import annotations

import pytest

from modelpress.kube import kinds
from modelpress.kube.cache import Cache


def live(name="bert", kind="Service", version=1, uid="u1", owner=None, model=None, **more):
    return {
        "apiVersion": kinds.named(kind).api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "vision",
            "uid": uid,
            "resourceVersion": str(version),
            "ownerReferences": [{"uid": owner}] if owner else None,
            "labels": {kinds.MODEL_LABEL: model} if model else None,
        },
        **more,
    }


@pytest.fixture
def cache():
    return Cache()


def test_the_newer_version_wins_whoever_brings_it(cache):
    assert cache.put(live(version=10))
    assert not cache.put(live(version=9))
    assert not cache.put(live(version=10))
    assert cache.seen("Service", "vision", "bert")["metadata"]["resourceVersion"] == "10"


def test_an_object_made_anew_replaces_the_old_one(cache):
    cache.put(live(version=10, uid="u1"))
    assert cache.put(live(version=11, uid="u2"))


def test_the_late_answer_to_a_write_does_not_bring_back_what_was_deleted(cache):
    cache.put(live(version=10))
    cache.remove(live(version=12))
    assert not cache.put(live(version=11))
    assert cache.seen("Service", "vision", "bert") is None


def test_an_object_that_only_lost_our_label_is_known_again_when_something_newer_shows_it(cache):
    cache.put(live(version=10, owner="o1"))
    cache.remove(live(version=12))
    assert not cache.put(live(version=12, owner="o1"))
    assert cache.put(live(version=13, owner="o1"))
    assert [child["metadata"]["resourceVersion"] for child in cache.children("o1")] == ["13"]


def test_the_late_deletion_of_an_old_object_leaves_the_new_one(cache):
    cache.put(live(version=11, uid="u2"))
    cache.remove(live(version=10, uid="u1"))
    assert cache.seen("Service", "vision", "bert")


def test_children_are_found_by_their_owners_uid(cache):
    cache.put(live("a", owner="o1"))
    cache.put(live("b", kind="ConfigMap", owner="o1"))
    cache.put(live("c", owner="o2"))
    assert [child["metadata"]["name"] for child in cache.children("o1")] == ["b", "a"]
    assert [child["metadata"]["name"] for child in cache.children("o1", "Service")] == ["a"]


def test_pods_are_found_by_the_label_of_their_model(cache):
    cache.put(live("pod-1", kind="Pod", model="bert"))
    cache.put(live("pod-2", kind="Pod", model="resnet50"))
    assert [pod["metadata"]["name"] for pod in cache.labelled("vision", "bert", "Pod")] == ["pod-1"]
    assert cache.labelled("elsewhere", "bert") == []


def test_a_changed_label_or_owner_moves_the_object(cache):
    cache.put(live(version=1, owner="o1", model="bert"))
    cache.put(live(version=2))
    assert (cache.children("o1"), cache.labelled("vision", "bert")) == ([], [])


def test_pods_keep_only_what_decisions_need(cache):
    status = {"phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.1.1.1"}
    cache.put(live("pod-1", kind="Pod", spec={"nodeName": "n1", "containers": [{}]}, status=status))
    kept = cache.seen("Pod", "vision", "pod-1")
    assert (kept["spec"], kept["status"]) == ({"nodeName": "n1"}, {"phase": "Running", "podIP": "10.0.0.1"})
