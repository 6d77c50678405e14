"""Workers that take keys from the queue, reconcile them, and turn each outcome into the next look."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from modelpress.kube.client import ApiError
from modelpress.reconcile.queue import LAST_RETRY_SECONDS, Key, Queue
from modelpress.telemetry import logs, metrics

__all__ = ["RECHECK_SECONDS", "Controller", "Done", "Key", "Reconcile", "Terminal", "Waiting"]

log = logging.getLogger(__name__)

RECHECK_SECONDS = 600.0
"""A good recheck where nothing is known to become due: a lost event then costs minutes, not forever."""
WORKERS = 4
"""More bring nothing: the API server is the bound."""


@dataclass(frozen=True)
class Done:
    """All is said and written."""

    recheck: float | None = None
    """Look again after so many seconds (a little sooner by chance); None: only when something changes."""


class Waiting(Exception):
    """Something else has to happen first; not a fault."""

    def __init__(self, reason: str, message: str, after: float) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.message = reason, message
        self.after = after
        """Seconds until the next look, unless something changes sooner."""


class Terminal(Exception):
    """Only a change of the resource can help."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.message = reason, message


Reconcile = Callable[[Key, dt.datetime], Awaitable[Done]]


class Controller:
    """Runs `reconcile` for every key of a queue; a key is never reconciled twice at a time."""

    def __init__(
        self,
        queue: Queue,
        reconcile: Reconcile,
        *,
        workers: int = WORKERS,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._queue, self._reconcile, self._workers, self._clock = queue, reconcile, workers, clock

    async def run(self) -> None:
        """Work until cancelled."""
        metrics.MAX_WORKERS.set(self._workers)
        metrics.QUEUE_DEPTH.set_function(self._queue.depth)
        metrics.LONGEST_SECONDS.set_function(self._queue.longest_seconds)
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._workers):
                tasks.create_task(self._work(), name=f"worker-{number}")

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                with metrics.ACTIVE_WORKERS.track_inprogress(), metrics.RECONCILE_SECONDS.labels(key.kind).time():
                    result = await self._once(key)
                metrics.RECONCILES.labels(kind=key.kind, result=result).inc()
            finally:
                self._queue.done(key)

    async def _once(self, key: Key) -> str:
        """Reconcile one key and arrange the next look; returns the result as metrics call it."""
        about = {"kind": key.kind, "namespace": key.namespace, "name": key.name}
        with logs.context(**about, reconcile_id=uuid.uuid4().hex[:8]):
            try:
                done = await self._reconcile(key, self._clock())
            except Waiting as waiting:
                return self._wait(key, waiting)
            except Terminal as terminal:
                log.info("Stalled until the resource changes", extra={"reason": terminal.reason})
                self._queue.forget(key)
                return "terminal"
            except ApiError as error:
                return self._refused(key, error)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                delay = self._queue.retry(key)
                log.warning("API server not reached", extra={"error": repr(error), "retry_seconds": round(delay, 1)})
                return "unreachable"
            except Exception:
                delay = self._queue.retry(key)
                metrics.RECONCILE_ERRORS.labels(key.kind).inc()
                log.exception("Reconcile failed", extra={"retry_seconds": round(delay, 1)})
                return "error"
            self._queue.forget(key)
            if done.recheck is not None:
                self._queue.recheck(key, done.recheck)
            return "success"

    def _wait(self, key: Key, waiting: Waiting) -> str:
        log.debug("Waiting", extra={"reason": waiting.reason})
        self._queue.forget(key)
        self._queue.add_after(key, waiting.after)
        return "waiting"

    def _refused(self, key: Key, error: ApiError) -> str:
        """A conflict is everyday life; a refusal that cannot get better is tried rarely and told loudly."""
        delay = self._queue.retry(key, LAST_RETRY_SECONDS if error.is_final else error.retry_after or 0.0)
        about = {"error": str(error), "retry_seconds": round(delay, 1)}
        if error.is_namespace_going:
            log.debug("The namespace is being deleted", extra=about)
            return "refused"
        if error.is_final:
            metrics.RECONCILE_ERRORS.labels(key.kind).inc()
            log.error("API server refuses", extra=about)
            return "refused"
        log.log(
            logging.DEBUG if error.status == 409 else logging.WARNING, "API server answers with an error", extra=about
        )
        return "conflict" if error.status == 409 else "unavailable"
