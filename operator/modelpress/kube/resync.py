"""Finds what a lost watch concealed: after a gap, objects deleted meanwhile are never reported."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from modelpress.kube import kinds
from modelpress.kube.cache import Cache
from modelpress.kube.client import Cluster
from modelpress.kube.kinds import Kind, Manifest

log = logging.getLogger(__name__)


async def find_gone(
    cluster: Cluster, cache: Cache, namespaces: Sequence[str] = (), watched: Iterable[Kind] = kinds.WATCHED
) -> list[Manifest]:
    """Forget, and return, what the cache holds and the API server does not; names are listed, not objects.

    Empty `namespaces` means the whole cluster.
    """
    gone: list[Manifest] = []
    for kind in watched:
        labels = "" if kind is kinds.MODEL else f"{kinds.MANAGED_BY_LABEL}={kinds.MANAGED_BY}"
        known = list(cache.all(kind.kind))  # before the list, so that what is new meanwhile is not missed in it
        living = set()
        for namespace in namespaces or (None,):
            listed = await cluster.list(kind.kind, namespace, labels=labels, names_only=True)
            living |= {item["metadata"]["uid"] for item in listed}
        for live in known:
            if live["metadata"]["uid"] not in living:
                cache.remove(live)
                gone.append(live)
    if gone:
        log.warning("Deletions were missed", extra={"objects": len(gone)})
    return gone
