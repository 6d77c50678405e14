"""What has to hold before the operator starts: our schema is served, and we have the rights to work.

A missing right would otherwise show as a watch that is retried in silence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from modelpress.api import base
from modelpress.kube import kinds, rbac
from modelpress.kube.client import Cluster
from modelpress.kube.kinds import Manifest

log = logging.getLogger(__name__)

SCHEMA_PATH = f"/openapi/v3/apis/{base.GROUP}/{base.VERSION}"
AT_ONCE = 8

Permission = tuple[str, str, str]


async def served_schema(cluster: Cluster) -> Manifest | None:
    """The schema of our kind as the API server has it, or None where it is not served (yet)."""
    document = await cluster.read(SCHEMA_PATH)
    for schema in ((document or {}).get("components") or {}).get("schemas", {}).values():
        for kind in schema.get("x-kubernetes-group-version-kind") or ():
            if kind == {"group": base.GROUP, "version": base.VERSION, "kind": base.KIND}:
                found: Manifest = schema
                return found
    return None


def unknown_fields(expected: Manifest, served: Manifest) -> list[str]:
    """Paths of fields below `spec` and `status` of the expected structural schema that the served one lacks."""
    ours = {name: schema for name, schema in expected["properties"].items() if name in ("spec", "status")}
    return _unknown({"properties": ours}, served, "")


def _unknown(expected: Manifest, served: Manifest, at: str) -> list[str]:
    missing: list[str] = []
    properties: dict[str, Any] = served.get("properties") or {}
    for name, schema in (expected.get("properties") or {}).items():
        path = f"{at}.{name}".lstrip(".")
        missing += _unknown(schema, _resolved(properties[name]), path) if name in properties else [path]
    if expected.get("items") and served.get("items"):
        missing += _unknown(expected["items"], _resolved(served["items"]), f"{at}[]")
    return missing


def _resolved(schema: Manifest) -> Manifest:
    """OpenAPI wraps a part that has a default in `allOf`."""
    options: list[Manifest] = schema.get("allOf") or []
    return {**schema, **options[0]} if len(options) == 1 else schema


async def missing_permissions(cluster: Cluster, namespaces: Sequence[str], lease_namespace: str) -> list[str]:
    """Sentences about rights that we lack; `namespaces` empty means the whole cluster."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def lacks(permission: Permission, namespace: str) -> str | None:
        async with gate:
            return None if await _may(cluster, permission, namespace) else _sentence(permission, namespace)

    places = namespaces or [""]
    wanted = [(permission, namespace) for namespace in places for permission in rbac.permissions()]
    wanted += [(permission, lease_namespace) for permission in rbac.permissions((kinds.LEASE,))]
    answers = await asyncio.gather(*(lacks(permission, namespace) for permission, namespace in wanted))
    return [answer for answer in answers if answer]


async def _may(cluster: Cluster, permission: Permission, namespace: str) -> bool:
    group, resource, verb = permission
    plural, _, subresource = resource.partition("/")
    attributes = {
        "namespace": namespace,
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "verb": verb,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await cluster.create(review)
    return bool(answer["status"]["allowed"])


def _sentence(permission: Permission, namespace: str) -> str:
    group, resource, verb = permission
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    return f"{verb} {resource}{'.' + group if group else ''} {where}"
