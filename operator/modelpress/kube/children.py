"""Children as they should be: written only where they differ, repaired, pruned, and never taken from somebody else."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from modelpress.kube import drift, kinds
from modelpress.kube.cache import Cache
from modelpress.kube.client import ApiError, Cluster
from modelpress.kube.kinds import Manifest

log = logging.getLogger(__name__)

_IMPOSSIBLE_VERSION = "1"
"""As `metadata.resourceVersion` of an apply it means: create, do not touch what exists (that answers 409)."""


class NameTaken(Exception):
    """An object that is not ours has the name of a child; a forced apply would take it over."""

    def __init__(self, kind: str, name: str, owner: str) -> None:
        super().__init__(f"{kind} {name} exists and belongs to {owner}; rename it or the CompressedModel")
        self.kind, self.name, self.owner = kind, name, owner


class Children:
    """Writes children through the watched cache: an unchanged child costs no request."""

    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster, self._cache = cluster, cache
        self._rewritten: dict[str, tuple[str, str]] = {}

    def is_current(self, wanted: Manifest) -> bool:
        """There is nothing to write for this manifest."""
        live = self._seen(wanted)
        if drift.is_current(live, wanted, self._cluster.manager):
            return True
        return live is not None and self._is_rewritten_as_before(live, wanted)

    async def ensure(self, wanted: Manifest) -> Manifest:
        """The live object, after an apply where it differs from what is wanted. Raises NameTaken.

        `wanted` needs an ownerReference with `controller: true`. Check `deletionTimestamp` of the answer.
        """
        live = self._seen(wanted)
        if live is None:
            answer = await self._create(wanted)
        elif live["metadata"].get("deletionTimestamp") or self.is_current(wanted):
            return live  # one that is going is created again when it has gone
        else:
            self._check_ours(live, wanted)
            answer = await self._apply(wanted)
        self._remember(answer, wanted)
        return answer

    async def prune(self, owner_uid: str, keep: Iterable[Manifest], prunable: Iterable[str] | None = None) -> None:
        """Delete the children of this owner that are not kept; `prunable` limits it to these kinds."""
        kept = {(wanted["kind"], wanted["metadata"]["name"]) for wanted in keep}
        allowed = None if prunable is None else set(prunable)
        for live in self._cache.children(owner_uid):
            kind, name = live["kind"], live["metadata"]["name"]
            controller = _controller(live)
            is_ours = controller is not None and controller["uid"] == owner_uid
            if is_ours and (kind, name) not in kept and (allowed is None or kind in allowed):
                await self.delete(live)

    async def delete(self, live: Manifest) -> None:
        """Delete exactly this object, unless it is going already."""
        if live["metadata"].get("deletionTimestamp"):
            return
        await self._cluster.delete(live)
        log.info("Deleted %s", live["kind"], extra={"child": live["metadata"]["name"]})

    async def limit_life(self, job: Manifest, seconds: int) -> None:
        """Let this finished Job go so many seconds after its end; gone already is as good."""
        metadata = {name: job["metadata"][name] for name in ("name", "namespace")}
        spec = {"ttlSecondsAfterFinished": seconds}
        try:
            answer = await self._cluster.merge({**_type(job), "metadata": metadata, "spec": spec})
        except ApiError as error:
            if error.status != 404:
                raise
            return
        self._cache.put(answer)

    def _seen(self, wanted: Manifest) -> Manifest | None:
        metadata = wanted["metadata"]
        return self._cache.seen(wanted["kind"], metadata["namespace"], metadata["name"])

    def _check_ours(self, live: Manifest, wanted: Manifest) -> None:
        """Ours: controlled by a CompressedModel of the owner's name, or (reference removed) once applied by us."""
        actual, expected = _controller(live), _controller(wanted)
        if actual is None:
            is_ours = drift.owned_fields(live, self._cluster.manager) is not None
        else:
            is_ours = expected is not None and all(actual[part] == expected[part] for part in ("kind", "name"))
        if not is_ours:
            raise NameTaken(wanted["kind"], wanted["metadata"]["name"], owner_of(live))

    async def _create(self, wanted: Manifest) -> Manifest:
        """Apply, but only if nothing has the name; what exists unseen (a watch lags, or not ours) is looked at."""
        stamped = drift.stamped(wanted)
        guarded = {**stamped, "metadata": {**stamped["metadata"], "resourceVersion": _IMPOSSIBLE_VERSION}}
        try:
            answer = await self._cluster.apply(guarded)
        except ApiError as error:
            if error.status != 409:
                raise
            live = await self._unseen(wanted)
            if live is None:
                raise  # it has just gone; the next try creates it
            self._check_ours(live, wanted)
            if live["metadata"].get("deletionTimestamp") or drift.is_current(live, wanted, self._cluster.manager):
                return live
            return await self._apply(wanted)
        log.info("Created %s", wanted["kind"], extra={"child": wanted["metadata"]["name"]})
        return answer

    async def _unseen(self, wanted: Manifest) -> Manifest | None:
        """Asked for by a list, because the operator has no right to get children."""
        metadata = wanted["metadata"]
        only = f"metadata.name={metadata['name']}"
        found = await self._cluster.list(wanted["kind"], metadata["namespace"], fields=only)
        return found[0] if found else None

    async def _apply(self, wanted: Manifest) -> Manifest:
        """Apply; where an edit left something that an apply cannot repair, first replace lists and unions whole."""
        stamped = drift.stamped(wanted)
        try:
            answer = await self._cluster.apply(stamped)
        except ApiError as error:
            if error.status != 422 or is_immutable(error):
                raise
            log.warning("Repairing %s by a merge patch", wanted["kind"], extra={"error": str(error)})
            await self._cluster.merge(stamped)
            answer = await self._cluster.apply(stamped)
        log.info("Applied %s", wanted["kind"], extra={"child": wanted["metadata"]["name"]})
        return answer

    def _remember(self, answer: Manifest, wanted: Manifest) -> None:
        self._cache.put(answer)
        uid = answer["metadata"]["uid"]
        if drift.is_current(answer, wanted, self._cluster.manager):
            self._rewritten.pop(uid, None)
        else:  # a mutating webhook rewrites fields of ours, or the object is going
            self._rewritten[uid] = (drift.intent(wanted), drift.ownership(answer, self._cluster.manager))

    def _is_rewritten_as_before(self, live: Manifest, wanted: Manifest) -> bool:
        """A webhook takes the same fields from us each time: applying again would never end."""
        if live["metadata"].get("deletionTimestamp"):
            return False
        known = self._rewritten.get(live["metadata"].get("uid", ""))
        return known == (drift.intent(wanted), drift.ownership(live, self._cluster.manager))


def is_immutable(error: ApiError) -> bool:
    """The server says that a field can never change: only delete and create can help."""
    return error.status == 422 and "immutable" in error.message


def owner_of(live: Manifest) -> str:
    """Who an object belongs to, in words."""
    if controller := _controller(live):
        return f"{controller['kind']} {controller['name']}"
    manager = (live["metadata"].get("labels") or {}).get(kinds.MANAGED_BY_LABEL)
    return manager if manager and manager != kinds.MANAGED_BY else "somebody else"


def _type(live: Manifest) -> Manifest:
    return {name: live[name] for name in ("apiVersion", "kind")}


def _controller(manifest: Manifest) -> Manifest | None:
    for reference in manifest["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Manifest = reference
            return found
    return None
