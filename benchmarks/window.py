"""Latency of several candidates of an artifact in one window of time, so that they can be compared with each other."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from modelpress.api.artifact import Candidate, Servable
from modelpress.api.measurement import LatencyMeasured
from modelpress.api.request import Request
from modelpress.compress import model
from modelpress.compress.dataset import Rows
from modelpress.compress.engine import Compressed
from modelpress.compress.evaluation import evaluate, examples, latency, timing
from modelpress.compress.evaluation.client import Client
from modelpress.compress.local.servers import Servers
from modelpress.telemetry.progress import Progress

SECONDS = 10.0
"""Of requests to each model."""
LOADED = 0.5
"""CPUs that others may keep busy before it is worth a warning."""


@dataclass(frozen=True)
class Window:
    """What one window told."""

    plan: latency.Plan
    times: Mapping[int, latency.Timed]
    """By the candidates' index."""
    others: float
    """CPUs that processes of others, or of the machine's other guests, kept busy meanwhile."""

    def beside_source(self, index: int) -> LatencyMeasured:
        """Of a candidate."""
        return latency.summary(self.times[index], self.plan)

    def beside(self, index: int, other: int) -> LatencyMeasured:
        """Of a candidate, in the other one's place for the source that one."""
        one, base = self.times[index], self.times[other]
        return latency.summary(
            latency.Timed(base.candidate, one.candidate, base.candidate_constant, one.candidate_constant), self.plan
        )

    @property
    def warning(self) -> str | None:
        """For people; None where the machine was quiet."""
        if self.others <= LOADED:
            return None
        return f"the machine was not quiet: others kept {self.others:.1f} of its {os.cpu_count()} CPUs busy meanwhile"


def measured(
    request: Request, done: Compressed, candidates: Sequence[Candidate], rows: Rows | None, logs: Path, told: Progress
) -> Window:
    """Starts a server for the source and for each candidate, and asks them in turn; all must load.

    `logs` is a new folder for what the servers say.
    """
    logs.mkdir()
    source = done.manifest.source.servable
    called = evaluate.signature_name(request, done.manifest)
    signature = model.signatures(done.directory / source.path)[called]
    chosen = examples.chosen(request, done.manifest, signature, rows)
    plan = timing.planned(request, signature, SECONDS)
    with contextlib.ExitStack() as stack:
        servers = Servers(request.name, request.target, signature, logs)

        def side(servable: Servable, log: str) -> timing.Side:
            server = stack.enter_context(servers.of((done.directory / servable.path).parent, servable.form, log))
            server.await_model()
            return server.endpoint, stack.enter_context(Client(server.endpoint, called))

        sides = [side(source, "source"), *(side(one.servable, f"candidate-{one.index}") for one in candidates)]
        before = _Spent.now()
        times = timing.together(chosen.rows, signature, sides[0], sides[1:], plan, told)
        others = before.others_since()
    return Window(plan, {one.index: taken for one, taken in zip(candidates, times, strict=True)}, others)


class _Spent(NamedTuple):
    """CPU seconds, until a moment."""

    moment: float
    machine: float
    own: float
    """Of this process and its children."""

    @classmethod
    def now(cls) -> _Spent:
        return cls(time.monotonic(), _busy(psutil.cpu_times()), _own(psutil.Process()))

    def others_since(self) -> float:
        """CPUs."""
        now = _Spent.now()
        return max(0.0, (now.machine - self.machine) - (now.own - self.own)) / (now.moment - self.moment)


def _busy(times: psutil._common.scputimes) -> float:
    """Time that a hypervisor gave to others counts."""
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return sum(float(getattr(times, name, 0.0)) for name in names)


def _own(process: psutil.Process) -> float:
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total
