"""RBAC rules from the table of kinds: exactly what the code does, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from modelpress.kube import kinds
from modelpress.kube.kinds import Kind, Manifest

DEFAULTS_NAME = "modelpress-defaults"
"""The only ConfigMap that is read though it is not ours."""


def rules() -> list[Manifest]:
    """Rules for where the models are: the same for a Role in each namespace and for one ClusterRole."""
    return _rules(kinds.WORKING)


def lease_rules() -> list[Manifest]:
    """Rules for the operator's own namespace."""
    return _rules((kinds.LEASE,))


def permissions(entries: Iterable[Kind] = kinds.WORKING) -> list[tuple[str, str, str, str]]:
    """(group, resource, verb, name) of everything needed; name is empty where every object is meant."""
    return [
        (rule["apiGroups"][0], resource, verb, (rule.get("resourceNames") or [""])[0])
        for rule in _rules(entries)
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def _rules(entries: Iterable[Kind]) -> list[Manifest]:
    """One rule per group and set of verbs, in a stable order."""
    together: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    named: list[Manifest] = []
    for entry in entries:
        verbs = entry.verbs
        if entry is kinds.CONFIG_MAP:
            verbs = tuple(verb for verb in verbs if verb != "get")
            named.append(_rule("", [entry.plural], ("get",)) | {"resourceNames": [DEFAULTS_NAME]})
        together[entry.group, tuple(sorted(verbs))].append(entry.plural)
        for subresource, sub_verbs in entry.subresources:
            together[entry.group, tuple(sorted(sub_verbs))].append(f"{entry.plural}/{subresource}")
    grouped = [_rule(group, sorted(resources), verbs) for (group, verbs), resources in sorted(together.items())]
    return grouped + named


def _rule(group: str, resources: list[str], verbs: tuple[str, ...]) -> Manifest:
    return {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
