"""Whether a live child still is what we last applied; if so there is nothing to write.

Every child carries the hash of the manifest that we last applied. Whoever changes or removes one of our values takes it
out of our entry in `managedFields`, so intent and ownership together show every drift that an apply would repair,
without knowing schemas or defaults. Additions by others are not drift, and an apply would not remove them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from modelpress.api import base, identity
from modelpress.kube.kinds import Manifest

HASH_ANNOTATION = f"{base.GROUP}/applied-hash"


def intent(wanted: Manifest) -> str:
    """Names a manifest by its content."""
    return identity.key(wanted)[:32]


def stamped(wanted: Manifest) -> Manifest:
    """The manifest with its own hash among the annotations, as it is applied."""
    metadata = wanted["metadata"]
    annotations = {**(metadata.get("annotations") or {}), HASH_ANNOTATION: intent(wanted)}
    return {**wanted, "metadata": {**metadata, "annotations": annotations}}


def is_current(live: Manifest | None, wanted: Manifest, manager: str) -> bool:
    """Nothing to write: same intent as last applied, and nobody took a field of ours since."""
    if live is None or live["metadata"].get("deletionTimestamp"):
        return False
    if (live["metadata"].get("annotations") or {}).get(HASH_ANNOTATION) != intent(wanted):
        return False
    owned = owned_fields(live, manager)
    body = {key: value for key, value in stamped(wanted).items() if key not in ("apiVersion", "kind")}
    body["metadata"] = {key: value for key, value in body["metadata"].items() if key not in ("name", "namespace")}
    return owned is not None and covers(owned, body)


def owned_fields(live: Manifest, manager: str) -> dict[str, Any] | None:
    """The `fieldsV1` that this manager has applied, or None."""
    for entry in live["metadata"].get("managedFields") or ():
        if entry["manager"] == manager and entry["operation"] == "Apply" and not entry.get("subresource"):
            fields: dict[str, Any] = entry["fieldsV1"]
            return fields
    return None


def ownership(live: Manifest, manager: str) -> str:
    """Digest of what this manager owns of a live object."""
    return hashlib.sha256(json.dumps(owned_fields(live, manager), sort_keys=True).encode()).hexdigest()


def covers(owned: dict[str, Any], wanted: Any) -> bool:
    """Is every leaf of `wanted` in the owned set? {} there means owned as a whole: scalar, atomic list or map."""
    if isinstance(wanted, dict):
        return all(_covers_field(owned, f"f:{key}", value) for key, value in wanted.items() if value is not None)
    if isinstance(wanted, list):
        return all(_covers_item(owned, item) for item in wanted)
    return True


def _covers_field(owned: dict[str, Any], name: str, value: Any) -> bool:
    return name in owned and (not owned[name] or covers(owned[name], value))


def _covers_item(owned: dict[str, Any], item: Any) -> bool:
    """List-map items are owned as `k:{json}`, list-set items as `v:json`; defaults may have completed the key."""
    if not isinstance(item, dict):
        return f"v:{json.dumps(item)}" in owned
    for name, fields in owned.items():
        if not name.startswith("k:"):
            continue
        key = json.loads(name[2:])
        if all(item.get(part, value) == value for part, value in key.items()) and (not fields or covers(fields, item)):
            return True
    return False
