"""Latency of servers beside each other: the same requests in turn (A B B A), so that noise hits all.

Each block is a closed loop of `concurrency` workers. Blocks are what the bootstrap draws from, because requests of one
block share their noise; the interval of the ratio is therefore wider, and truer, than one over single requests.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modelpress.api.measurement import Compared, LatencyMeasured
from modelpress.compress.evaluation.scores import Floats
from modelpress.telemetry.progress import Progress

Send = Callable[[bytes], object]
"""Sends one serialized request and returns when it is answered."""

RESAMPLES = 1000
SLOW_SECONDS = 0.5
"""A request that takes longer is warmed up with one more of its kind only."""
CONFIDENCE = (2.5, 97.5)
QUIET = 0.5
"""Share of the rounds that net latency is taken from: those in which all sides together answered fastest.

What else runs on a machine stops a long request more often than a short one, so that it changes the ratio. On two busy
CPUs this halved the error of the ratio (.023 to .013, .031 to .012, against an undisturbed one of .16 and .15).
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much to measure; the first bound that is reached ends it, but never before `min_requests`."""

    percentile: int
    batch_size: int
    concurrency: int
    seconds: float = 5.0
    """For each of the two."""
    blocks: int = 24
    """At least; more, and shorter, where requests are quick, so that drift hits both sides of every difference."""
    most_blocks: int = 96
    block_requests: int = 20
    """Of a worker: fewer would be told apart by what the server answered before."""
    min_requests: int = 40
    """For each of the two; few, so that a model of a second a request takes less than two minutes."""
    max_requests: int = 4000
    warm_up: int = 10
    """Requests for each worker that are not counted."""


@dataclasses.dataclass(frozen=True)
class Timed:
    """Milliseconds of every request, one array a block."""

    source: tuple[Floats, ...]
    candidate: tuple[Floats, ...]
    source_constant: tuple[Floats, ...] = ()
    """Of the constant-output model on the source's server; empty where there is none."""
    candidate_constant: tuple[Floats, ...] = ()


Load = tuple[Send, Sequence[bytes]]
"""How to send, and what, in turn."""


class Side(NamedTuple):
    """A model to measure, and the constant-output model on its server; None where latency stays gross."""

    model: Load
    constant: Load | None = None


def together(source: Side, candidates: Sequence[Side], plan: Plan, *, progress: Progress) -> tuple[Timed, ...]:
    """The raw times of each candidate beside the source, after a warm-up of all; errors of `send` are raised.

    All take turns: what disturbs the machine disturbs all, so that candidates can be compared with each other, too.
    """
    sides = (source, *candidates)
    with ThreadPoolExecutor(plan.concurrency, thread_name_prefix="latency") as workers:
        # A model and its constant beside each other: their difference is what counts.
        loops = [[_Loop(*load, workers, plan.concurrency) for load in side if load is not None] for side in sides]
        paces = [[_pace(loop, plan) for loop in side] for side in loops]
        blocks = _blocks(max(pace for side in paces for pace in side), plan)
        turns = [
            _Turn(loop, min(_block_requests(pace, plan, blocks), _block_requests(side_paces[0], plan, blocks)), [])
            for side, side_paces in zip(loops, paces, strict=True)
            for loop, pace in zip(side, side_paces, strict=True)
        ]
        with progress.step("Measuring latency", total=len(turns) * blocks) as step:
            for block in range(blocks):
                for turn in turns if block % 2 == 0 else reversed(turns):
                    turn.times.append(turn.loop.run(turn.requests))
                    step.advance()
    taken = iter(turns)
    found = [[tuple(next(taken).times) for _ in side] for side in loops]
    return tuple(_pair(found[0], side) for side in found[1:])


class _Turn(NamedTuple):
    """What one model does in each round."""

    loop: _Loop
    requests: int
    """Of each worker. A constant answers much faster: as many as its model gets tell enough of it."""
    times: list[Floats]


def _pair(source: Sequence[tuple[Floats, ...]], candidate: Sequence[tuple[Floats, ...]]) -> Timed:
    """Each side is the model's times, and its constant's where there is one: net latency takes both."""
    if len(source) == len(candidate) == 2:
        return Timed(source[0], candidate[0], source[1], candidate[1])
    return Timed(source[0], candidate[0])


class _Loop:
    """A closed loop: every worker sends its next request when the last one is answered."""

    def __init__(self, send: Send, requests: Sequence[bytes], workers: ThreadPoolExecutor, concurrency: int) -> None:
        self._send, self._workers, self._concurrency = send, workers, concurrency
        self._requests = itertools.cycle(requests)
        self._lock = threading.Lock()

    def run(self, each: int) -> Floats:
        """Milliseconds of `each` requests of every worker."""
        parts = list(self._workers.map(self._work, [each] * self._concurrency))
        return np.concatenate(parts)

    def _work(self, count: int) -> Floats:
        times = np.empty(count)
        for index in range(count):
            with self._lock:
                request = next(self._requests)
            began = time.perf_counter()
            self._send(request)
            times[index] = time.perf_counter() - began
        return times * 1000


def _pace(loop: _Loop, plan: Plan) -> float:
    """Seconds that one request of each worker takes, after a warm-up."""
    loop.run(1)
    began = time.perf_counter()
    loop.run(1)
    rounds = 1 if time.perf_counter() - began > SLOW_SECONDS else plan.warm_up
    loop.run(rounds)
    began = time.perf_counter()
    loop.run(rounds)
    return (time.perf_counter() - began) / rounds


def _blocks(pace: float, plan: Plan) -> int:
    """How many, where the slowest side takes `pace` seconds a request."""
    requests = min(plan.seconds / max(pace, 1e-6), plan.max_requests / plan.concurrency)
    return max(plan.blocks, min(plan.most_blocks, int(requests / plan.block_requests)))


def _block_requests(pace: float, plan: Plan, blocks: int) -> int:
    """Requests of each worker in a block."""
    in_time = plan.seconds / blocks / max(pace, 1e-6)
    least = plan.min_requests / blocks / plan.concurrency
    most = plan.max_requests / blocks / plan.concurrency
    return max(1, round(min(max(in_time, least), most)))


def summary(times: Timed, plan: Plan, *, seed: int = 0) -> LatencyMeasured:
    """Percentiles of both, and the 95 % interval of the ratio by a bootstrap over blocks."""
    source, candidate = np.concatenate(times.source), np.concatenate(times.candidate)
    low, high = interval(times, plan.percentile, seed=seed)
    net = _net(times, seed=seed)
    return LatencyMeasured(
        percentile=plan.percentile,
        batch_size=plan.batch_size,
        gross=_compared(source, candidate, plan.percentile),
        p50=_compared(source, candidate, 50),
        ratio_low=low,
        ratio_high=high,
        constant=float(np.median(np.concatenate(times.candidate_constant))) if times.candidate_constant else None,
        **net,
    )


def _net(times: Timed, *, seed: int) -> dict[str, Any]:
    """Fields of the net latency: medians, less those of the constant-output models; none where noise leaves nothing."""
    if not times.source_constant or not times.candidate_constant:
        return {}
    paces, count = _paces(times), len(times.source)
    before, after = _net_medians(times, _quiet(paces, np.arange(count)))
    if before <= 0:
        return {}
    random = np.random.default_rng(seed)
    drawn = [_net_ratio(times, _quiet(paces, random.integers(0, count, count))) for _ in range(RESAMPLES)]
    ratios = [ratio for ratio in drawn if math.isfinite(ratio)]
    if len(ratios) < RESAMPLES / 2:
        return {}
    low, high = np.percentile(ratios, CONFIDENCE)
    compared = Compared(source=before, value=after, ratio=after / before)
    return {"net": compared, "net_ratio_low": float(low), "net_ratio_high": float(high)}


def _paces(times: Timed) -> Floats:
    """How slow each round was, all sides weighing the same."""
    sides = (times.source, times.candidate, times.source_constant, times.candidate_constant)
    medians = np.array([[np.median(block) for block in side] for side in sides])
    total: Floats = (medians / np.median(medians, axis=1, keepdims=True)).sum(axis=0)
    return total


def _quiet(paces: Floats, rounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The faster share of some rounds."""
    order = np.argsort(paces[rounds], kind="stable")
    return rounds[order[: max(1, math.ceil(QUIET * len(rounds)))]]


def _net_ratio(times: Timed, blocks: Iterable[int]) -> float:
    before, after = _net_medians(times, blocks)
    return after / before if before > 0 else math.inf


def _net_medians(times: Timed, blocks: Iterable[int]) -> tuple[float, float]:
    drawn = list(blocks)

    def median(side: tuple[Floats, ...]) -> float:
        return float(np.median(np.concatenate([side[block] for block in drawn])))

    before = median(times.source) - median(times.source_constant)
    return before, max(0.0, median(times.candidate) - median(times.candidate_constant))


def interval(times: Timed, percentile: int, *, seed: int) -> tuple[float, float]:
    """95 % confidence interval of candidate / source at a percentile; pairs of blocks are drawn together."""
    random = np.random.default_rng(seed)
    blocks = len(times.source)
    ratios = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        drawn = random.integers(0, blocks, blocks)
        source = np.percentile(np.concatenate([times.source[block] for block in drawn]), percentile)
        candidate = np.percentile(np.concatenate([times.candidate[block] for block in drawn]), percentile)
        ratios[index] = candidate / source
    low, high = np.percentile(ratios, CONFIDENCE)
    return float(low), float(high)


def _compared(source: Floats, candidate: Floats, percentile: int) -> Compared:
    before, after = float(np.percentile(source, percentile)), float(np.percentile(candidate, percentile))
    return Compared(source=before, value=after, ratio=after / before)
