"""The sidecar as a whole: its parts put together, started, drained and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from modelpress.api.errors import Invalid
from modelpress.api.tunables import Tunables
from modelpress.sidecar import observation, state
from modelpress.sidecar.address import Address
from modelpress.sidecar.admin import Admin
from modelpress.sidecar.availability import Availability
from modelpress.sidecar.body import Bodies
from modelpress.sidecar.channel import Channel
from modelpress.sidecar.exposition import Exposition
from modelpress.sidecar.grpc_connection import GrpcConnection
from modelpress.sidecar.grpc_service import GrpcService
from modelpress.sidecar.key import Identity
from modelpress.sidecar.listener import Listener, listen, most_connections
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.popular import Asked
from modelpress.sidecar.question import Question
from modelpress.sidecar.reload import TunablesFile
from modelpress.sidecar.request import Desk, Service
from modelpress.sidecar.rest_connection import RestConnection
from modelpress.sidecar.rest_service import RestService
from modelpress.sidecar.rest_upstream import RestUpstream
from modelpress.sidecar.tiers.disk import Disk
from modelpress.sidecar.tiers.stack import Stack
from modelpress.sidecar.tiers.tier import Tier
from modelpress.sidecar.upkeep import Upkeep

log = logging.getLogger(__name__)

QUIET = 2.0
"""Seconds without a request after which a drained sidecar counts as idle: clients need that long to hear of it."""
QUIET_ON_TERM = 0.5
DRAIN_MARGIN = 5.0
POLL = 0.02
DISMISS_PERIOD = 0.25
ADMIN_GRACE = 1.0
PARTING, LULL = 3.0, 0.1
"""Seconds for what is still on the wire at the end, and without a request until nothing is."""
COLLECT = (20_000, 20, 200)
"""Thresholds of Python's cyclic garbage collection; almost nothing here is cyclic."""
BODIES = 2.5
"""All request bodies together may hold this many times the largest: two of them, and the reserve for short ones."""


class Settings(NamedTuple):
    """What is fixed while a sidecar runs. Port 0 means any free one, an empty host all addresses."""

    identity: Identity
    upstream_grpc: Address
    upstream_rest: Address
    config_directory: Path | None = None
    host: str = ""
    grpc_port: int = 8500
    rest_port: int = 8501
    admin_port: int = 9090
    deterministic: bool = True
    disk_directory: Path | None = None
    """Of the disk tier, and of nobody else; None: no disk tier."""
    redis_url_file: Path | None = None
    """Holds the URL of the shared tier; None: no shared tier."""
    prefetch_file: Path | None = None
    """Recorded requests (TFRecord of PredictionLogs) to be asked before anybody else does."""


class Sidecar:
    """Made and used inside one event loop: `start`, then `drain` and `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.file = TunablesFile(settings.config_directory)
        self.file.load()
        tunables = self.file.current
        self._now = asyncio.get_running_loop().time
        self._rest_upstream = RestUpstream(settings.upstream_rest)
        self.availability = Availability(lambda: self._rest_upstream.status(settings.identity.model))
        self.pipeline = Pipeline(
            settings.identity,
            tunables,
            self.availability,
            deterministic=settings.deterministic,
            lower=self._lower(),
        )
        self._bodies = Bodies(self.pipeline.measures, largest=0, total=0)
        self._channel = Channel(settings.upstream_grpc)
        self._grpc = GrpcService(self.pipeline, self._channel, lambda: self.serving)
        self._rest = RestService(self.pipeline, self._rest_upstream)
        self._grpc_desk, self._rest_desk = self._desk(self._grpc), self._desk(self._rest)
        self._spans = observation.spans()
        self._configure(tunables)
        self.upkeep = Upkeep(self.pipeline, self._question, now=time.monotonic(), prefetch_file=settings.prefetch_file)
        self.draining = False
        self._drained = False
        self._background: list[asyncio.Task[None]] = []

    @property
    def serving(self) -> bool:
        """Whether clients should be sent here."""
        return self.availability.status.ready and not self.draining

    async def start(self) -> None:
        """Listens on all three ports; ready as soon as the model server is."""
        settings, host = self.settings, self.settings.host
        if settings.disk_directory is not None and not self.file.error and not self.file.current.cache.disk_bytes:
            message = f"{settings.disk_directory} is to hold 0 bytes; set cache.diskBytes, or leave it out"
            raise Invalid("InvalidFlag", message, field="--disk-dir")
        admin = Admin(
            self.availability,
            Exposition(self.pipeline, self.file, self.upkeep),
            self.state,
            lambda: self.draining,
            self.drain,
            self.upkeep.purge,
            settings.identity,
        )
        with contextlib.ExitStack() as opened:
            data = [
                opened.enter_context(listen(host, port, field=field))
                for port, field in ((settings.grpc_port, "--grpc-port"), (settings.rest_port, "--rest-port"))
            ]
            admin_socket = opened.enter_context(listen(host, settings.admin_port, field="--admin-port"))
            opened.pop_all()
        desk, (most, few) = admin.desk(), most_connections()
        self.grpc = Listener(lambda connections: GrpcConnection(self._grpc_desk, connections), data[0], most)
        self.rest = Listener(lambda connections: RestConnection(self._rest_desk, connections), data[1], most)
        self.admin = Listener(lambda connections: RestConnection(desk, connections), admin_socket, few)
        await self.pipeline.lower.start()  # else the first questions would not be found in it
        loop = asyncio.get_running_loop()
        oldest = lambda: self.file.current.max_connection_age_seconds  # noqa: E731
        self._background = [
            loop.create_task(self.availability.watch()),
            loop.create_task(self.file.watch(self._configure)),
            loop.create_task(self.upkeep.run()),
            *(loop.create_task(listener.connections.watch(oldest)) for listener in self._data),
        ]
        for listener in (self.grpc, self.rest, self.admin):
            await listener.start()
        ports = self.grpc.port, self.rest.port, self.admin.port
        log.info("Answering for %s: gRPC on port %d, REST on %d, administration on %d", settings.identity.model, *ports)

    async def drain(self, bound: float | None = None, quiet: float | None = None) -> bool:
        """Stops being ready, and waits until nothing has come for `quiet` seconds.

        Clients are asked to go elsewhere, those that come back again and again. Nobody is cut off: requests that
        still come are answered as ever. False where there was no such quiet within `bound` seconds.
        """
        loop = asyncio.get_running_loop()
        first = not self.draining
        self.draining = True
        if first:
            log.info("Draining")
            self._background.append(loop.create_task(self._dismiss()))
            await self.upkeep.hand_over(time.monotonic())
        quiet = QUIET if quiet is None else quiet
        bound = self.pipeline.tunables.request_timeout_seconds + DRAIN_MARGIN if bound is None else bound
        started = loop.time()
        measures = self.pipeline.measures
        while loop.time() - started < bound:
            busy = measures.active or self.pipeline.pending
            since = measures.last_request if self._drained else max(measures.last_request, started)
            if not busy and loop.time() - since >= quiet:
                self._drained = True
                return True
            await asyncio.sleep(POLL)
        return False

    async def _dismiss(self) -> None:
        """Asks clients to go elsewhere until cancelled: as long as their endpoints name us, they come back."""
        while True:
            for listener in self._data:
                listener.connections.age(0)
            await asyncio.sleep(DISMISS_PERIOD)

    async def _part(self) -> None:
        """Where it never became quiet: lets nobody in, takes leave of all, and answers what is on the wire."""
        loop, measures = asyncio.get_running_loop(), self.pipeline.measures
        for listener in self._data:
            listener.shut()
        end = loop.time() + PARTING
        while loop.time() < end:
            for listener in self._data:
                listener.connections.age(0)
            if not measures.active and loop.time() - measures.last_request >= LULL:
                return
            await asyncio.sleep(POLL)

    @property
    def _data(self) -> tuple[Listener, Listener]:
        """What clients of the model connect to."""
        return self.grpc, self.rest

    async def stop(self) -> None:
        """Closes everything; requests that were accepted are answered first, also those on the wire while it drains."""
        if self.draining and not self._drained:
            await self._part()
            self._drained = True
        graceful = self.pipeline.tunables.request_timeout_seconds + DRAIN_MARGIN
        await asyncio.gather(*(listener.stop(graceful) for listener in self._data))
        await self.admin.stop(ADMIN_GRACE)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.pipeline.rollout.close()
        await self.pipeline.lower.close()
        await self._channel.close()
        await self._rest_upstream.close()
        log.info("Stopped")

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, then drains and stops; a second signal does not wait for quiet."""
        stop = asyncio.Event()
        hurry = asyncio.Event()

        def signalled() -> None:
            (hurry if stop.is_set() else stop).set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled)
        await self.start()
        # Kept answers are no garbage: looking through all of them again and again costs a tenth of every miss.
        gc.freeze()
        gc.set_threshold(*COLLECT)
        await self._until(stop)
        drain = loop.create_task(self.drain(quiet=QUIET_ON_TERM))
        hurried = loop.create_task(hurry.wait())
        await asyncio.wait([drain, hurried], return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, hurried):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.stop()

    async def _until(self, stop: asyncio.Event) -> None:
        """Waits for a signal; a part that fails instead ends the program with its error, to be started again."""
        stopped = asyncio.get_running_loop().create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *self._background], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def state(self) -> dict[str, Any]:
        """What `/state` shows."""
        pipeline, status = self.pipeline, self.availability.status
        return {
            "model": self.settings.identity.model,
            "artifactDigest": self.settings.identity.artifact,
            "ready": self.serving,
            "draining": self.draining,
            "upstream": {"versions": list(status.versions), "message": status.message},
            "cache": state.cache(pipeline, self.upkeep, now=time.monotonic()),
            "concurrency": {"mode": pipeline.tunables.concurrency.mode, **pipeline.limiter.state()},
            "rollout": pipeline.rollout.state(),
            "requests": state.requests(pipeline.measures),
            "tunables": {
                "valid": not self.file.error,
                "error": self.file.error,
                "unknown": list(self.file.unknown),
                **pipeline.tunables.plain(),
            },
        }

    def _lower(self) -> Stack:
        settings, identity, tiers = self.settings, self.settings.identity, list[Tier]()
        if settings.disk_directory is not None:
            size = lambda: self.file.current.cache.disk_bytes  # noqa: E731
            tiers.append(Disk(settings.disk_directory, identity.artifact, size=size))
        if settings.redis_url_file is not None:
            from modelpress.sidecar.tiers.redis import Redis

            tiers.append(Redis(settings.redis_url_file, identity.model, identity.artifact))
        return Stack(tiers, ttl=lambda: self.file.current.cache.ttl_seconds)

    def _question(self, asked: Asked) -> Question:
        service = self._grpc if asked.protocol == "grpc" else self._rest
        return service.question(asked.path, asked.body)

    def _configure(self, tunables: Tunables) -> None:
        self.pipeline.configure(tunables)
        self._bodies.largest = tunables.max_body_bytes
        self._bodies.total = int(BODIES * tunables.max_body_bytes)
        self._bodies.patience = tunables.request_timeout_seconds
        observers = [observation.log_access if tunables.access_log else None, self._spans]
        self._grpc.observer = self._rest.observer = observation.together(observers)

    def _desk(self, service: Service) -> Desk:
        return Desk(service, self._bodies, self.pipeline.measures, self._now)
