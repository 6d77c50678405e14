"""What the watches have shown: the operator's picture of its own kinds.

Filled by the watch handlers and by the answers of our own writes, so that the echo of a write changes nothing. It may
lag behind and, after a lost watch, hold objects that are gone (`kube.resync` finds those): read it to decide, and read
the primary from the server before the first write.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from modelpress.kube import kinds
from modelpress.kube.kinds import Manifest

BURIED = 10_000
"""How many removed uids are remembered, so that a late answer to an earlier write does not bring one back."""

_POD_SPEC = ("nodeName",)
_POD_STATUS = (
    "phase",
    "reason",
    "message",
    "conditions",
    "podIP",
    "initContainerStatuses",
    "containerStatuses",
    "startTime",
)
_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "labels",
    "annotations",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
)


class Cache:
    """Live objects by kind, namespace and name. Treat what it returns as read-only."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Manifest] = {}
        self._by_owner: dict[str, set[tuple[str, str, str]]] = {}
        self._by_model: dict[tuple[str, str], set[tuple[str, str, str]]] = {}
        self._buried: OrderedDict[str, int] = OrderedDict()

    def seen(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The live object as last seen, or None."""
        return self._objects.get((kind, namespace, name))

    def children(self, owner_uid: str, kind: str | None = None) -> list[Manifest]:
        """Objects with an ownerReference to this uid, sorted by kind and name."""
        return self._listed(self._by_owner.get(owner_uid, ()), kind)

    def labelled(self, namespace: str, model: str, kind: str | None = None) -> list[Manifest]:
        """Objects with the label of this CompressedModel (pods too, which it does not own directly), sorted."""
        return self._listed(self._by_model.get((namespace, model), ()), kind)

    def all(self, kind: str) -> Iterator[Manifest]:
        """Every object of a kind, in no particular order."""
        return (live for key, live in list(self._objects.items()) if key[0] == kind)

    def put(self, live: Manifest) -> bool:
        """Remember an object as it is now; False when what is known, its removal too, is as new."""
        metadata = live["metadata"]
        uid = metadata.get("uid") or ""
        if _version(metadata) <= self._buried.get(uid, -1):
            return False
        self._buried.pop(uid, None)
        key = _key(live)
        known = self._objects.get(key)
        if known is not None and not _newer(metadata, known["metadata"]):
            return False
        self._forget(key)
        kept = _trimmed(live)
        self._objects[key] = kept
        for index, at in _places(kept):
            index_of: dict[Any, set[tuple[str, str, str]]] = getattr(self, index)
            index_of.setdefault(at, set()).add(key)
        return True

    def remove(self, live: Manifest) -> None:
        """Forget an object that was deleted or lost our label; a newer one under the same name stays.

        A selector's watch reports both alike, so what is newer than `live` shows that the object lives.
        """
        uid = live["metadata"].get("uid")
        if uid:
            self._buried[uid] = max(_version(live["metadata"]), self._buried.pop(uid, -1))
            while len(self._buried) > BURIED:
                self._buried.popitem(last=False)
        key = _key(live)
        known = self._objects.get(key)
        if known is not None and (not uid or known["metadata"].get("uid") == uid):
            self._forget(key)

    def __len__(self) -> int:
        return len(self._objects)

    def _forget(self, key: tuple[str, str, str]) -> None:
        known = self._objects.pop(key, None)
        if known is None:
            return
        for index, at in _places(known):
            index_of: dict[Any, set[tuple[str, str, str]]] = getattr(self, index)
            members = index_of.get(at, set())
            members.discard(key)
            if not members:
                index_of.pop(at, None)

    def _listed(self, keys: Any, kind: str | None) -> list[Manifest]:
        return [self._objects[key] for key in sorted(keys) if kind in (None, key[0])]


def _key(live: Manifest) -> tuple[str, str, str]:
    metadata = live["metadata"]
    return live["kind"], metadata.get("namespace") or "", metadata["name"]


def _newer(metadata: Manifest, known: Manifest) -> bool:
    if metadata.get("uid") != known.get("uid"):
        return True
    return _version(metadata) > _version(known)


def _version(metadata: Manifest) -> int:
    return int(metadata.get("resourceVersion") or 0)


def _places(live: Manifest) -> Iterator[tuple[str, Any]]:
    metadata = live["metadata"]
    for reference in metadata.get("ownerReferences") or ():
        yield "_by_owner", reference["uid"]
    if model := (metadata.get("labels") or {}).get(kinds.MODEL_LABEL):
        yield "_by_model", (metadata.get("namespace") or "", model)


def _trimmed(live: Manifest) -> Manifest:
    """Pods keep what decisions need, a CompressedModel loses its managedFields, children stay whole (drift check)."""
    if live["kind"] == kinds.POD.kind:
        return {
            "apiVersion": live.get("apiVersion", "v1"),
            "kind": "Pod",
            "metadata": _only(live["metadata"], _METADATA),
            "spec": _only(live.get("spec") or {}, _POD_SPEC),
            "status": _only(live.get("status") or {}, _POD_STATUS),
        }
    if live["kind"] == kinds.MODEL.kind:
        return {**live, "metadata": {k: v for k, v in live["metadata"].items() if k != "managedFields"}}
    return live


def _only(mapping: Manifest, keys: tuple[str, ...]) -> Manifest:
    return {key: mapping[key] for key in keys if key in mapping}
