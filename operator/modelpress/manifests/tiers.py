"""What the cache asks of a pod: memory, and for the tiers below it a volume of its own and a file with an URL."""

from __future__ import annotations

import math
from typing import Any

from modelpress.api import quantity
from modelpress.api.pod import Resources
from modelpress.api.resource import CompressedModel

DISK = "/var/cache/modelpress"
REDIS = "/var/run/modelpress/redis"
URL = "url"
TIER_MEMORY = 48 * 2**20
"""Bytes that a tier below memory may take for answers that wait to be written, and for its client."""
STORAGE = "ephemeral-storage"
SLACK = 16 * 2**20
"""Bytes of the volume beside the answers: the kubelet evicts a pod whose volume outgrows its limit."""


def flags(model: CompressedModel) -> tuple[str, ...]:
    """Of the sidecar."""
    cache = model.spec.cache
    return (
        *((f"--disk-dir={DISK}",) if cache.disk else ()),
        *((f"--redis-url-file={REDIS}/{URL}",) if cache.redis else ()),
    )


def volumes(model: CompressedModel) -> list[Any]:
    """The disk tier goes with the pod; the URL is a file, so that a rotated Secret reaches the sidecar."""
    found: list[Any] = []
    if disk := model.spec.cache.disk:
        limit = math.ceil(quantity.number(disk.size)) + SLACK
        found.append({"name": "cache", "emptyDir": {"sizeLimit": str(limit)}})
    if redis := model.spec.cache.redis:
        items = [{"key": redis.url_secret_ref.key, "path": URL}]
        secret = {"secretName": redis.url_secret_ref.name, "items": items, "defaultMode": 0o440}
        found.append({"name": "redis", "secret": secret})
    return found


def mounts(model: CompressedModel) -> list[Any]:
    """Of the sidecar."""
    cache = model.spec.cache
    return [
        *([{"name": "cache", "mountPath": DISK}] if cache.disk else []),
        *([{"name": "redis", "mountPath": REDIS, "readOnly": True}] if cache.redis else []),
    ]


def resources(model: CompressedModel) -> Resources:
    """The sidecar's: the cache comes on top of what the resource says, so that a larger one never kills the proxy."""
    wanted, cache = model.spec.serving.sidecar.resources, model.spec.cache
    memory = quantity.number(cache.memory.size) + TIER_MEMORY * sum(
        tier is not None for tier in (cache.disk, cache.redis)
    )
    disk = math.ceil(quantity.number(cache.disk.size)) + SLACK if cache.disk else 0

    def grown(amounts: dict[str, Any], *, is_request: bool) -> dict[str, Any]:
        found = dict(amounts)
        if "memory" in found:
            found["memory"] = str(math.ceil(quantity.number(found["memory"]) + memory))
        if disk and (is_request or STORAGE in found):
            found[STORAGE] = str(math.ceil(quantity.number(found.get(STORAGE, 0)) + disk))
        return found

    return Resources(requests=grown(wanted.requests, is_request=True), limits=grown(wanted.limits, is_request=False))
