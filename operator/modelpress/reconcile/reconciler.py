"""One look at one model: gather, plan, apply, report."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from modelpress.api import support
from modelpress.api.base import API_VERSION, GROUP, KIND
from modelpress.api.resource import CompressedModel
from modelpress.api.status import Status
from modelpress.kube.cache import Cache
from modelpress.kube.children import Children, NameTaken
from modelpress.kube.client import ApiError, Cluster
from modelpress.kube.events import Recorder
from modelpress.kube.kinds import SERVICE, Manifest
from modelpress.manifests import names
from modelpress.manifests.installation import Installation
from modelpress.reconcile import gather, plan, progress, report, rollout
from modelpress.reconcile.controller import Done, Terminal
from modelpress.reconcile.facts import Facts
from modelpress.reconcile.plan import Plan
from modelpress.reconcile.queue import Key
from modelpress.reconcile.readings import Readings
from modelpress.reconcile.world import World
from modelpress.status import conditions
from modelpress.status.gate import Finding

PAUSED = f"{GROUP}/paused"
HAND_OVER_TO = "modelpress-handover"
TOLD_ELSEWHERE = frozenset({"spec.cache.mode"})
"""Condition CacheEffective says it; as a default, it would be told of every model."""
REFUSED_BY_SERVER = "RefusedByAPIServer"


FRESH = dt.timedelta(seconds=10)
"""How long the answer to our own status write tells as much of the model as asking again would."""


class _Changed(Exception):
    """The model on the server is not the one that was planned for."""


class Reconciler:
    """Brings one model's children and status up to date; running it twice is free."""

    def __init__(
        self, cluster: Cluster, cache: Cache, recorder: Recorder, installation: Installation, readings: Readings
    ) -> None:
        self._cluster, self._cache, self._recorder, self._installation = cluster, cache, recorder, installation
        self._readings = readings
        self._children = Children(cluster, cache)
        self._answers: dict[Key, _Answer] = {}

    async def __call__(self, key: Key, now: dt.datetime) -> Done:
        """Raises Terminal, ApiError, or the connection's errors."""
        live = self._cache.seen(KIND, key.namespace, key.name)
        if live is None or live["metadata"].get("deletionTimestamp") or _is_paused(live):
            self._answers.pop(key, None)
            return Done()
        answer = self._answers.get(key)
        is_fresh = answer is not None and answer.vouches_for(live, now)
        primary = _Primary(self._cluster, self._cache, live, is_confirmed=is_fresh)
        try:
            return await self._reconcile(gather.parsed(live), primary, now)
        except _Changed:
            return Done(recheck=0.0)
        except gather.Unreadable as unreadable:
            await self._write(report.unreadable(live, unreadable.problem, now), primary, now)
            raise Terminal(unreadable.problem.reason, str(unreadable)) from unreadable

    async def _reconcile(self, model: CompressedModel, primary: _Primary, now: dt.datetime) -> Done:
        facts = gather.gather(
            model,
            self._cache,
            self._installation,
            manager=self._cluster.manager,
            now=now,
            cache_effect=self._readings.settled(_key(primary.live), primary.uid),
        )
        stage = progress.of(facts)
        wanted = plan.of(facts, stage)
        refusal: ApiError | None = None
        try:
            obstacle = await self._apply(wanted, primary)
        except ApiError as error:
            if not error.is_final:
                raise
            refusal, obstacle = error, Finding(REFUSED_BY_SERVER, str(error))
        status = report.of(facts, stage, self._look(facts, obstacle))
        await self._report(status, model.status or Status(), primary, now)
        await self._tell_ignored(model, primary, now)
        if refusal is not None:
            raise refusal
        for job in wanted.needless:
            await self._children.limit_life(job, wanted.time_to_live)
        return Done(recheck=min(wanted.recheck, plan.OBSTACLE_SECONDS) if obstacle else wanted.recheck)

    async def _apply(self, wanted: Plan, primary: _Primary) -> Finding | None:
        """What differs; returns the first child whose name is somebody else's, after what does not build on it."""
        taken: Finding | None = None
        before = f"{KIND} {primary.live['metadata']['name']}"
        for job in wanted.obsolete:
            await primary.confirm()
            await self._children.delete(job)
        if wanted.hand_over is not None:
            await primary.confirm()
            await self._cluster.hand_over(wanted.hand_over, HAND_OVER_TO)
        for child in wanted.children:
            if not self._children.is_current(child):
                await primary.confirm()
            try:
                await self._children.ensure(child)
            except NameTaken as error:
                if error.owner != before:  # else of a model of this name that was deleted: the collector is on its way
                    taken = taken or Finding("NameTaken", str(error))
                if child["kind"] in plan.BASES:
                    return taken
        if _has_more(self._cache, wanted, primary.uid):
            await primary.confirm()
            await self._children.prune(primary.uid, wanted.children, wanted.prunable)
        return taken

    def _look(self, facts: Facts, obstacle: Finding | None) -> World:
        """What was applied is in the cache already."""
        after = gather.gather(
            facts.model, self._cache, self._installation, manager=self._cluster.manager, now=facts.now
        )
        services = self._cache.children(facts.model.metadata.uid or "", SERVICE.kind)
        is_addressable = any(live["metadata"]["name"] == names.server(facts.model) for live in services)
        return World(rollout.of(after.deployment, after.pods), after.autoscaler, obstacle, is_addressable)

    async def _report(self, status: Status, old: Status, primary: _Primary, now: dt.datetime) -> None:
        """Writes the status if it differs, and tells of a turn."""
        if status.plain() != old.plain():
            await self._write(status.plain(), primary, now)
        await self._tell(status, old, primary, now)

    async def _write(self, status: dict[str, Any], primary: _Primary, now: dt.datetime) -> None:
        """The resourceVersion guards it: a model made anew under the same name must not inherit this status."""
        metadata = primary.live["metadata"]
        if status == primary.live.get("status"):
            return
        guarded = {name: metadata[name] for name in ("name", "namespace", "resourceVersion")}
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": guarded, "status": status}
        try:
            answer = await self._cluster.apply_status(manifest)
        except ApiError as error:
            if error.status != 404:
                raise
            raise _Changed from error  # deleted meanwhile
        self._cache.put(answer)
        self._answers[_key(answer)] = _Answer(
            answer["metadata"]["uid"], int(answer["metadata"]["resourceVersion"]), now
        )

    async def _tell(self, status: Status, old: Status, primary: _Primary, now: dt.datetime) -> None:
        """One Event for each turn that Ready takes."""
        before, after = (conditions.named(one.conditions, "Ready") for one in (old, status))
        if after is None or (before and (before.status, before.reason) == (after.status, after.reason)):
            return
        is_bad = conditions.is_true(status.conditions, "Stalled")
        await self._recorder.record(primary.live, "Warning" if is_bad else "Normal", after.reason, after.message, now)

    async def _tell_ignored(self, model: CompressedModel, primary: _Primary, now: dt.datetime) -> None:
        """One Event for each generation that has fields without the effect one could expect."""
        if (model.status or Status()).observed_generation == model.metadata.generation:
            return
        ignored = [problem for problem in support.reports(model, "Cluster") if problem.field not in TOLD_ELSEWHERE]
        if ignored:
            told = "; ".join(str(problem) for problem in ignored)
            await self._recorder.record(primary.live, "Warning", ignored[0].reason, told, now)


class _Answer(NamedTuple):
    """What the server answered to our last status write of a model."""

    uid: str
    version: int
    at: dt.datetime

    def vouches_for(self, live: Manifest, now: dt.datetime) -> bool:
        """Whether what was seen is that answer, or newer, and was so a moment ago: a lost watch can hide no more."""
        metadata = live["metadata"]
        is_as_new = metadata["uid"] == self.uid and int(metadata["resourceVersion"]) >= self.version
        return is_as_new and dt.timedelta(0) <= now - self.at <= FRESH


class _Primary:
    """The model on the server, read once, before the first write: it may be gone, or newer than what was seen."""

    def __init__(self, cluster: Cluster, cache: Cache, live: Manifest, *, is_confirmed: bool = False) -> None:
        self._cluster, self._cache, self.live = cluster, cache, live
        self._is_confirmed = is_confirmed

    @property
    def uid(self) -> str:
        return str(self.live["metadata"]["uid"])

    async def confirm(self) -> None:
        """Raises _Changed where the plan was made for something else."""
        if self._is_confirmed:
            return
        metadata = self.live["metadata"]
        fresh = await self._cluster.get(KIND, metadata["namespace"], metadata["name"])
        if fresh is None:
            self._cache.remove(self.live)
            raise _Changed
        if _wish(fresh) != _wish(self.live):
            self._cache.put(fresh)
            raise _Changed
        self.live = {**self.live, "metadata": {**metadata, "resourceVersion": fresh["metadata"]["resourceVersion"]}}
        self._is_confirmed = True


def _key(live: Manifest) -> Key:
    return Key(KIND, live["metadata"]["namespace"], live["metadata"]["name"])


def _wish(live: Manifest) -> tuple[object, ...]:
    """What a user can change."""
    metadata = live["metadata"]
    names = ("uid", "generation", "deletionTimestamp", "labels", "annotations")
    return tuple(metadata.get(name) for name in names)


def _is_paused(live: Manifest) -> bool:
    return (live["metadata"].get("annotations") or {}).get(PAUSED) == "true"


def _has_more(cache: Cache, wanted: Plan, uid: str) -> bool:
    """Whether there is something to prune."""
    kept = {(child["kind"], child["metadata"]["name"]) for child in wanted.children}
    return any(
        live["kind"] in wanted.prunable and (live["kind"], live["metadata"]["name"]) not in kept
        for live in cache.children(uid)
    )
