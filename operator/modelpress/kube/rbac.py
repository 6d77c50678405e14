"""RBAC rules from the table of kinds: exactly what the code does, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from modelpress.kube import kinds
from modelpress.kube.kinds import Kind, Manifest


def rules() -> list[Manifest]:
    """Rules for where the models are: the same for a Role in each namespace and for one ClusterRole."""
    return _rules(kinds.WORKING)


def lease_rules() -> list[Manifest]:
    """Rules for the operator's own namespace."""
    return _rules((kinds.LEASE,))


def permissions(entries: Iterable[Kind] = kinds.WORKING) -> list[tuple[str, str, str]]:
    """(group, resource, verb) of everything needed."""
    return [
        (rule["apiGroups"][0], resource, verb)
        for rule in _rules(entries)
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def _rules(entries: Iterable[Kind]) -> list[Manifest]:
    """One rule per group and set of verbs, in a stable order."""
    together: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for entry in entries:
        together[entry.group, tuple(sorted(entry.verbs))].append(entry.plural)
        for subresource, sub_verbs in entry.subresources:
            together[entry.group, tuple(sorted(sub_verbs))].append(f"{entry.plural}/{subresource}")
    return [_rule(group, sorted(resources), verbs) for (group, verbs), resources in sorted(together.items())]


def _rule(group: str, resources: list[str], verbs: tuple[str, ...]) -> Manifest:
    return {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
