"""The process of the operator: probes first, then checks, then the Lease, then watches and workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from modelpress.api import crd
from modelpress.handlers import registry, runtime
from modelpress.kube import client, resync, rights
from modelpress.kube.cache import Cache
from modelpress.kube.client import ApiError, Cluster
from modelpress.kube.events import Recorder
from modelpress.kube.lease import Lease
from modelpress.reconcile.controller import Controller, Reconcile
from modelpress.reconcile.queue import Queue
from modelpress.reconcile.readings import PERIOD_SECONDS, Readings
from modelpress.telemetry import conditions, health

log = logging.getLogger(__name__)

SCHEMA_SECONDS = 60.0
"""How long to wait for the CRD, which may be applied a moment after the operator."""
SCHEMA_PERIOD_SECONDS = 1.0
RESYNC_SECONDS = 900.0


class NotFit(Exception):
    """Something outside the operator keeps it from working; the text says what to do."""


class LostLease(Exception):
    """Somebody else may be leading: end at once."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    namespaces: tuple[str, ...] = ()
    """Empty means all."""
    lease_namespace: str = "default"
    lease_name: str = "modelpress"
    metrics_port: int = 8080
    health_port: int = 8081
    workers: int = 4
    identity: str = field(default_factory=lambda: _identity())
    sidecar_seconds: float = PERIOD_SECONDS
    """Between two readings of the sidecars of a model with cache mode Auto."""
    lease_seconds: tuple[float, float, float] = (15, 10, 2)
    """Duration, deadline and retry."""


@dataclass(frozen=True)
class World:
    """What a reconciler works with."""

    cluster: Cluster
    cache: Cache
    recorder: Recorder
    readings: Readings


MakeReconcile = Callable[[World], Reconcile]


async def run(options: Options, make_reconcile: MakeReconcile) -> None:
    """Run until SIGTERM or SIGINT. Raises NotFit or LostLease."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (for the type checker: a coroutine runs in a task)
    runtime.on_signals(task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await _run(options, make_reconcile, task.cancel)


async def _run(options: Options, make_reconcile: MakeReconcile, end: Callable[[], object]) -> None:
    probes = health.Health()
    async with (
        health.served(probes, health_port=options.health_port, metrics_port=options.metrics_port),
        client.connect() as cluster,
    ):
        await check(cluster, options)
        probes.is_ready = True  # a standby is: it can take over at any time
        duration, deadline, retry = options.lease_seconds
        lease = Lease(
            cluster,
            options.lease_namespace,
            options.lease_name,
            options.identity,
            duration=duration,
            deadline=deadline,
            retry=retry,
        )
        async with lease.held() as lost:
            await _lead(cluster, options, make_reconcile, probes, lost, end)


async def check(cluster: Cluster, options: Options) -> None:
    """Raises NotFit where the CRD is missing or older than the operator, or a right is missing."""
    deadline = time.monotonic() + SCHEMA_SECONDS
    while not (served := await rights.served_schema(cluster)):
        if time.monotonic() > deadline:
            raise NotFit(f"The API server does not serve {crd.NAME}: apply the release's CRD (folder crds/)")
        await asyncio.sleep(SCHEMA_PERIOD_SECONDS)
    if unknown := rights.unknown_fields(crd.schema(), served):
        shown = ", ".join(unknown[:5])
        raise NotFit(
            f"The CRD {crd.NAME} is older than the operator and lacks {shown}: apply the release's CRD (crds/)"
        )
    if lacking := await rights.missing_permissions(cluster, options.namespaces, options.lease_namespace):
        raise NotFit(f"Rights are missing; install the release's RBAC. Not allowed: {'; '.join(lacking)}")


async def _lead(
    cluster: Cluster,
    options: Options,
    make_reconcile: MakeReconcile,
    probes: health.Health,
    lost: asyncio.Event,
    end: Callable[[], object],
) -> None:
    queue, cache = Queue(), Cache()
    probes.longest_reconcile = queue.longest_seconds
    readings = Readings(cache, queue, period_seconds=options.sidecar_seconds)
    reconcile = make_reconcile(World(cluster, cache, Recorder(cluster, options.identity), readings))
    handlers = registry.build_registry(queue, cache)
    runtime.use_identity(handlers, cluster)
    with conditions.exposed(cache):
        try:
            async with asyncio.TaskGroup() as tasks:
                mine = [
                    tasks.create_task(_end_when(lost), name="lease-lost"),
                    tasks.create_task(Controller(queue, reconcile, workers=options.workers).run(), name="controller"),
                    tasks.create_task(_resync(cluster, cache, queue, options.namespaces), name="resync"),
                    tasks.create_task(readings.run(), name="readings"),
                ]
                await runtime.watch(handlers, options.namespaces, runtime.settings(), end)
                for task in mine:
                    task.cancel()
        except* LostLease:
            raise LostLease(f"Lease {options.lease_namespace}/{options.lease_name} was lost") from None


async def _end_when(lost: asyncio.Event) -> None:
    await lost.wait()
    raise LostLease


async def _resync(cluster: Cluster, cache: Cache, queue: Queue, namespaces: tuple[str, ...]) -> None:
    """From time to time, look for deletions that a lost watch concealed."""
    while True:
        await asyncio.sleep(RESYNC_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
        try:
            gone = await resync.find_gone(cluster, cache, namespaces)
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("Resync failed; the next one is due as usual", extra={"error": repr(error)})
            continue
        for live in gone:
            queue.add(registry.owner_of(live) or registry.key_of(live))


def _identity() -> str:
    """The pod's name, and something that differs after a restart."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
