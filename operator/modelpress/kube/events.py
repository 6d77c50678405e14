"""Kubernetes Events: one per transition, repetitions counted in its series instead of told again."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import aiohttp

from modelpress.api import base
from modelpress.kube import kinds
from modelpress.kube.client import ApiError, Cluster
from modelpress.kube.kinds import Manifest

log = logging.getLogger(__name__)

SERIES_WINDOW = dt.timedelta(minutes=30)
"""A repetition within this time is counted; a later one is a new Event."""
REMEMBERED = 1_000
NOTE_LIMIT = 1_024
CONTROLLER = f"{base.GROUP}/operator"


@dataclass
class _Told:
    event: Manifest
    count: int
    last: dt.datetime


class Recorder:
    """Writes Events; what goes wrong here is logged and holds nobody up."""

    def __init__(self, cluster: Cluster, instance: str) -> None:
        """`instance` is the pod that reports."""
        self._cluster, self._instance = cluster, instance
        self._told: OrderedDict[str, _Told] = OrderedDict()

    async def record(
        self,
        regarding: Manifest,
        kind: Literal["Normal", "Warning"],
        reason: str,
        note: str,
        now: dt.datetime,
        *,
        action: str = "Reconcile",
    ) -> None:
        """Tell of one transition of an object; `reason` is the condition's, `note` its sentence."""
        note = note if len(note) <= NOTE_LIMIT else note[: NOTE_LIMIT - 1] + "…"
        about = "\n".join((regarding["metadata"].get("uid", ""), kind, reason, note))
        key = hashlib.sha256(about.encode()).hexdigest()
        told = self._told.get(key)
        try:
            if told and now - told.last <= SERIES_WINDOW:
                await self._count(told, now)
            else:
                event = self._event(regarding, kind, reason, note, now, action)
                self._told[key] = _Told(await self._cluster.create(event), 1, now)
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("Event not written", extra={"reason": reason, "error": repr(error)})
            return
        self._told.move_to_end(key)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    async def _count(self, told: _Told, now: dt.datetime) -> None:
        metadata = {part: told.event["metadata"][part] for part in ("name", "namespace")}
        series = {"count": told.count + 1, "lastObservedTime": _micro(now)}
        await self._cluster.merge({"kind": "Event", "metadata": metadata, "series": series})
        told.count, told.last = told.count + 1, now

    def _event(self, regarding: Manifest, kind: str, reason: str, note: str, now: dt.datetime, action: str) -> Manifest:
        metadata = regarding["metadata"]
        unique = hashlib.sha256(f"{metadata.get('uid')}{kind}{reason}{note}{now.timestamp()}".encode()).hexdigest()
        return {
            "apiVersion": kinds.EVENT.api_version,
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{unique[:16]}", "namespace": metadata["namespace"]},
            "eventTime": _micro(now),
            "type": kind,
            "reason": reason,
            "note": note,
            "action": action,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata.get("uid"),
            },
        }


def _micro(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
