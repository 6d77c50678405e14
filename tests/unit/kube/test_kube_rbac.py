"""The rights that the table of kinds comes to."""

from __future__ import annotations

from modelpress.kube import kinds, rbac

ALLOWED = {
    (group, resource, verb)
    for rule in rbac.rules()
    for group in rule["apiGroups"]
    for resource in rule["resources"]
    for verb in rule["verbs"]
}


def test_no_right_on_secrets_or_on_roles():
    assert not {resource for _, resource, _ in ALLOWED} & {"secrets", "roles", "clusterroles", "namespaces", "nodes"}


def test_no_wildcards():
    assert "*" not in {part for right in ALLOWED for part in right}


def test_a_users_spec_is_never_written():
    verbs = {verb for group, resource, verb in ALLOWED if resource == "compressedmodels"}
    assert verbs == {"get", "list", "watch"}
    assert {verb for _, resource, verb in ALLOWED if resource == "compressedmodels/status"} == {"patch"}


def test_children_are_created_by_apply_and_never_read_one_by_one():
    for child in kinds.CHILDREN:
        verbs = {verb for group, resource, verb in ALLOWED if (group, resource) == (child.group, child.plural)}
        assert verbs - {"delete"} == {"list", "watch", "create", "patch"}


def test_a_claim_with_results_cannot_be_deleted():
    kept = {child.plural for child in kinds.CHILDREN if (child.group, child.plural, "delete") not in ALLOWED}
    assert kept == {"persistentvolumeclaims"}


def test_nothing_that_is_not_watched_is_read():
    assert {resource for _, resource, verb in ALLOWED if verb == "get"} == {"compressedmodels"}


def test_the_lease_is_the_operators_own_affair():
    assert rbac.lease_rules() == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"]}
    ]
    assert not {resource for _, resource, _ in ALLOWED} & {"leases"}
