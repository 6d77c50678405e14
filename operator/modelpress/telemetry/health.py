"""The operator's HTTP endpoints: /healthz, /readyz and /metrics; they answer from the first moment on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from modelpress.telemetry import metrics

LAG_LIMIT_SECONDS = 10.0
LAG_PERIOD_SECONDS = 1.0
STUCK_SECONDS = 600.0
"""A reconcile under way for longer than this means that the process should be restarted."""


class Health:
    """What the probes are told. It never depends on the API server: a restart would not bring that back."""

    def __init__(self) -> None:
        self.is_ready = False
        self.longest_reconcile: Callable[[], float] = lambda: 0.0
        self._lag = 0.0
        self._ticked = time.monotonic()

    def problem(self) -> str | None:
        """Why the process should be restarted, or None."""
        if (lag := max(self._lag, time.monotonic() - self._ticked - LAG_PERIOD_SECONDS)) > LAG_LIMIT_SECONDS:
            return f"the event loop is {lag:.0f} s late"
        if (longest := self.longest_reconcile()) > STUCK_SECONDS:
            return f"a reconcile has been under way for {longest:.0f} s"
        return None

    async def measure_lag(self) -> None:
        """Until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(LAG_PERIOD_SECONDS)
            self._ticked = time.monotonic()
            self._lag = self._ticked - began - LAG_PERIOD_SECONDS
            metrics.LOOP_LAG.set(self._lag)


@contextlib.asynccontextmanager
async def served(health: Health, *, health_port: int, metrics_port: int, host: str = "0.0.0.0") -> AsyncIterator[None]:  # noqa: S104
    """Serve probes and metrics inside this context; a port of 0 switches one off."""
    lag = asyncio.create_task(health.measure_lag(), name="loop-lag")
    runners = [
        await _listen(_probes(health), host, health_port),
        await _listen(_metrics(), host, metrics_port),
    ]
    try:
        yield
    finally:
        lag.cancel()
        await asyncio.gather(lag, return_exceptions=True)
        for runner in runners:
            if runner:
                await runner.cleanup()


def _probes(health: Health) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        problem = health.problem()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok" if health.is_ready else "starting", status=200 if health.is_ready else 503)

    probes = web.Application()
    probes.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return probes


def _metrics() -> web.Application:
    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    exposition = web.Application()
    exposition.add_routes([web.get("/metrics", scrape)])
    return exposition


async def _listen(application: web.Application, host: str, port: int) -> web.AppRunner | None:
    if not port:
        return None
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
