"""What counts as covered by our part of `managedFields`."""

from __future__ import annotations

import pytest

from modelpress.kube import drift

OWNED = {
    "f:spec": {
        "f:replicas": {},
        "f:emptyDir": {},
        "f:selector": {},
        "f:ports": {
            'k:{"port":8500,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}},
        },
        "f:finalizers": {'v:"a"': {}},
    }
}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"replicas": 3}, True),
        ({"replicas": 3, "paused": True}, False),
        ({"paused": None}, True),
        ({"selector": {"anything": "inside an atomic map"}}, True),
        ({"ports": [{"port": 8500, "name": "grpc"}]}, True),
        ({"ports": [{"port": 8500, "protocol": "UDP", "name": "grpc"}]}, False),
        ({"ports": [{"port": 8500, "targetPort": 1}]}, False),
        ({"ports": [{"port": 9999}]}, False),
        ({"finalizers": ["a"]}, True),
        ({"finalizers": ["b"]}, False),
        ({"emptyDir": {}}, True),
        ({"hostPath": {}}, False),
    ],
)
def test_every_leaf_that_we_want_has_to_be_ours(wanted, expected):
    assert drift.covers(OWNED, {"spec": wanted}) is expected


WANTED = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": {"k": "v"}}


def applied(wanted, manager="modelpress", **metadata):
    fields = {"f:metadata": {"f:annotations": {f"f:{drift.HASH_ANNOTATION}": {}}}, "f:data": {"f:k": {}}}
    entry = {"manager": manager, "operation": "Apply", "fieldsV1": fields}
    body = drift.stamped(wanted)
    return body | {"metadata": body["metadata"] | {"managedFields": [entry]} | metadata}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (None, False),
        (applied(WANTED), True),
        (applied(WANTED, deletionTimestamp="2026-11-22T10:00:00Z"), False),
        (applied(WANTED, manager="kubectl"), False),
        (applied(WANTED | {"data": {"k": "other"}}), False),
        (applied(WANTED, managedFields=[]), False),
        (applied(WANTED, annotations=None), False),
    ],
    ids=["absent", "as applied", "going", "of somebody else", "other intent", "ownership wiped", "hash removed"],
)
def test_a_live_object_is_current_while_intent_and_ownership_are_ours(live, expected):
    assert drift.is_current(live, WANTED, "modelpress") is expected


def test_the_stamp_does_not_change_what_it_names():
    assert drift.intent(WANTED) == drift.intent({**WANTED})
    assert drift.HASH_ANNOTATION not in (WANTED["metadata"].get("annotations") or {})
