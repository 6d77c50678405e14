"""All contenders in turn, round after round, and the ratios of their medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.sidecar import distinct, requests
from benchmarks.sidecar.contenders import Contenders
from benchmarks.sidecar.load import Failed, Load, Result, grpcio, h2load, wrk, wrk_script
from rich.console import Console
from rich.table import Table


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int
    requests: int
    """Of one run of the small request; a tenth of it for one client, a fiftieth for large ones."""
    seconds: int
    """Of one run of wrk."""
    entries: int
    crowds: tuple[int, ...]
    """Numbers of connections."""


FULL = Plan(rounds=7, requests=30_000, seconds=2, entries=100_000, crowds=(1, 8, 64, 256, 512))
QUICK = Plan(rounds=1, requests=400, seconds=1, entries=500, crowds=(1, 8))


class Sample(NamedTuple):
    """One run: its result, and the processor time of the process under test for each request in microseconds."""

    rate: float
    median: float
    cpu: float


class Series:
    """The samples of all rounds by what was measured."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = {}

    def add(self, name: str, sample: Sample) -> None:
        """One more."""
        self.samples.setdefault(name, []).append(sample)

    def rate(self, name: str) -> float:
        """Median of the requests per second."""
        return statistics.median(sample.rate for sample in self.samples[name])

    def time(self, name: str) -> float:
        """Median of the median times of a request, in microseconds."""
        return statistics.median(sample.median for sample in self.samples[name])

    def ratios(self) -> dict[str, float]:
        """The figures of the last line."""
        direct = self.time("direct, one client")
        ratios = {
            "grpc_hit_vs_envoy": self.rate("hit") / self.rate("Envoy"),
            "rest_hit_vs_nginx": self.rate("REST hit") / self.rate("nginx REST hit"),
            "grpc_miss_vs_envoy": self.rate("miss") / self.rate("Envoy, distinct"),
            "grpc_hit_latency_vs_direct": self.time("hit, one client") / direct,
            "grpc_miss_added_vs_envoy": (self.time("miss, one client") - self.time("direct, distinct, one client"))
            / (self.time("Envoy, distinct, one client") - self.time("direct, distinct, one client")),
            "large_hit_vs_envoy": self.rate("large hit") / self.rate("Envoy, large"),
            "large_hit_vs_envoy_grpcio": self.rate("large hit, grpcio") / self.rate("Envoy, large, grpcio"),
            "grpc_bypass_vs_envoy": self.rate("cache off") / self.rate("Envoy"),
        }
        return {name: round(value, 3) for name, value in ratios.items()}

    def table(self) -> Table:
        """All medians."""
        table = Table("what", "requests/s", "median time, us", "CPU of the tested process, us/request")
        for name, samples in self.samples.items():
            cpu = statistics.median(sample.cpu for sample in samples)
            table.add_row(name, f"{self.rate(name):,.0f}", f"{self.time(name):,.0f}", f"{cpu:,.1f}")
        return table


def measured(running: Contenders, folder: Path, plan: Plan, console: Console) -> Series:
    """Every kind of run once in each round, so that what disturbs the machine disturbs all of them."""
    series = Series()
    runs = _runs(running, folder, plan)
    for number in range(plan.rounds):
        console.print(f"round {number + 1} of {plan.rounds}")
        for name, process, run in runs:
            before, answered = running.cpu(process), run()
            spent = running.cpu(process) - before
            series.add(name, Sample(answered.rate, answered.median, spent / answered.requests * 1e6))
    _check(running.state()["requests"])
    return series


def _check(outcomes: dict[str, Any]) -> None:
    """Raises Failed where a hit was none: then the load was not what it was meant to be."""
    for protocol, counts in outcomes.items():
        if counts["bypassed"] or counts["refused"] or not counts["hits"]:
            raise Failed(f"{protocol}: {counts}")


class Answered(NamedTuple):
    """What a run gives."""

    rate: float
    median: float
    requests: int


Run = tuple[str, str, Callable[[], Answered]]


def _runs(running: Contenders, folder: Path, plan: Plan) -> list[Run]:
    ports = running.ports
    small, large = folder / "small", folder / "large"
    small.write_bytes(requests.framed(requests.predict(requests.SMALL)))
    large.write_bytes(requests.framed(requests.predict(requests.LARGE)))
    script = wrk_script(folder / "post.lua", requests.rest())
    few, one = max(plan.requests // 50, 20), max(plan.requests // 10, 50)
    loads = {
        "": Load(small, plan.requests),
        ", one client": Load(small, one, 1, 1),
        ", large": Load(large, few, 4, 2),
    }

    def by_h2load(port: int, load: Load) -> Callable[[], Answered]:
        return lambda: _answered(h2load(port, load), load.requests)

    def by_wrk(port: int) -> Callable[[], Answered]:
        def run() -> Answered:
            result = wrk(port, script, plan.seconds)
            return _answered(result, int(result.rate * plan.seconds) or 1)

        return run

    def by_grpcio(port: int) -> Callable[[], Answered]:
        message = requests.predict(requests.LARGE)
        return lambda: _answered(grpcio(port, message, few, 8), few)

    def distinctly(port: int, count: int, connections: int, streams: int) -> Callable[[], Answered]:
        body, expected = small.read_bytes(), requests.framed(requests.response())

        def run() -> Answered:
            timing = distinct.load(port, body, expected, requests=count, connections=connections, streams=streams)
            return Answered(timing.rate, timing.median, count)

        return run

    whole = plan.requests // 2
    return [
        ("direct", "stub", by_h2load(ports.stub, loads[""])),
        ("hit", "sidecar", by_h2load(ports.sidecar, loads[""])),
        ("Envoy", "envoy", by_h2load(ports.envoy, loads[""])),
        ("cache off", "bypass", by_h2load(ports.bypass, loads[""])),
        ("direct, one client", "stub", by_h2load(ports.stub, loads[", one client"])),
        ("hit, one client", "sidecar", by_h2load(ports.sidecar, loads[", one client"])),
        ("Envoy, one client", "envoy", by_h2load(ports.envoy, loads[", one client"])),
        ("miss", "sidecar", distinctly(ports.sidecar, whole, 8, 8)),
        ("Envoy, distinct", "envoy", distinctly(ports.envoy, whole, 8, 8)),
        ("direct, distinct, one client", "stub", distinctly(ports.stub, one, 1, 1)),
        ("miss, one client", "sidecar", distinctly(ports.sidecar, one, 1, 1)),
        ("Envoy, distinct, one client", "envoy", distinctly(ports.envoy, one, 1, 1)),
        ("REST hit", "sidecar", by_wrk(ports.sidecar_rest)),
        ("nginx REST hit", "nginx", by_wrk(ports.nginx)),
        ("large hit", "sidecar", by_h2load(ports.sidecar, loads[", large"])),
        ("Envoy, large", "envoy", by_h2load(ports.envoy, loads[", large"])),
        ("large hit, grpcio", "sidecar", by_grpcio(ports.sidecar)),
        ("Envoy, large, grpcio", "envoy", by_grpcio(ports.envoy)),
    ]


def _answered(result: Result, count: int) -> Answered:
    return Answered(result.rate, result.median, count)


def connections(running: Contenders, folder: Path, plan: Plan) -> Table:
    """Throughput by the number of connections, one stream on each."""
    table = Table("connections", "hit, requests/s", "Envoy, requests/s")
    for count in plan.crowds:
        load = Load(folder / "small", max(plan.requests // 2, count), count, 1)
        rates = [h2load(port, load).rate for port in (running.ports.sidecar, running.ports.envoy)]
        table.add_row(str(count), *(f"{rate:,.0f}" for rate in rates))
    return table
