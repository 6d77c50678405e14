"""What is watched, and which key an event puts into the queue."""

from __future__ import annotations

from typing import Any

import kopf

from modelpress.api import base
from modelpress.kube import kinds
from modelpress.kube.cache import Cache
from modelpress.kube.kinds import Kind, Manifest
from modelpress.reconcile.queue import Key, Queue
from modelpress.telemetry import metrics


def build_registry(queue: Queue, cache: Cache) -> kopf.OperatorRegistry:
    """Handlers for every watched kind.

    The cache is filled in index functions, because kopf holds all other handlers back until every indexed kind has been
    listed: no reconcile starts with half a picture. An index function runs before the event handler of the same event.
    """
    registry = kopf.OperatorRegistry()
    for kind in kinds.WATCHED:
        _remember(registry, kind, cache)
    _watch_models(registry, queue, cache)
    for kind in kinds.OWNED:
        _watch_owned(registry, kind, queue, cache)
    return registry


def _remember(registry: kopf.OperatorRegistry, kind: Kind, cache: Cache) -> None:
    @kopf.index(kind.group, kind.version, kind.plural, id=f"seen-{kind.plural}", registry=registry)
    async def seen(body: kopf.Body, **_: Any) -> None:
        cache.put(manifest_of(kind, body))


def _watch_models(registry: kopf.OperatorRegistry, queue: Queue, cache: Cache) -> None:
    known: dict[str, tuple[Any, ...]] = {}
    kind = kinds.MODEL

    @kopf.on.event(kind.group, kind.version, kind.plural, id="model-changed", registry=registry)
    async def model_changed(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        live = manifest_of(kind, body)
        uid, wish = live["metadata"]["uid"], _wish(live)
        metrics.WATCH_EVENTS.labels(kind.kind).inc()
        if event["type"] == "DELETED":
            cache.remove(live)
            known.pop(uid, None)
        elif known.get(uid) == wish:
            return  # our own status
        else:
            known[uid] = wish
        queue.add(key_of(live))


def _watch_owned(registry: kopf.OperatorRegistry, kind: Kind, queue: Queue, cache: Cache) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, id=f"changed-{kind.plural}", registry=registry)
    async def changed(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        live = manifest_of(kind, body)
        metrics.WATCH_EVENTS.labels(kind.kind).inc()
        if event["type"] == "DELETED":
            cache.remove(live)
        if owner := owner_of(live):
            queue.add(owner)


def manifest_of(kind: Kind, body: kopf.Body) -> Manifest:
    """The plain object; list items come without kind and version."""
    return {**body, "apiVersion": kind.api_version, "kind": kind.kind}


def key_of(live: Manifest) -> Key:
    """The key of an object itself."""
    return Key(live["kind"], live["metadata"]["namespace"], live["metadata"]["name"])


def owner_of(live: Manifest) -> Key | None:
    """The CompressedModel that an object belongs to: by label, else (label removed) by its controller."""
    metadata = live["metadata"]
    name = (metadata.get("labels") or {}).get(kinds.MODEL_LABEL)
    if not name:
        for reference in metadata.get("ownerReferences") or ():
            if reference.get("controller") and reference["kind"] == base.KIND:
                name = reference["name"]
    return Key(base.KIND, metadata["namespace"], name) if name else None


def _wish(live: Manifest) -> tuple[Any, ...]:
    """What a user, and not our status, can change."""
    metadata = live["metadata"]
    return (
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        metadata.get("labels"),
        metadata.get("annotations"),
    )
