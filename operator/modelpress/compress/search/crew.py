"""Several processes that build the next moves while nothing is measured; each version of the model has one writer.

Building is what takes the time: steps that train, conversion. Latency is measured afterwards, one move after the other,
with the machine to itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from modelpress.api.errors import Invalid
from modelpress.api.request import Request, Target
from modelpress.compress.bench import Bench
from modelpress.compress.search.move import Move
from modelpress.compress.source import Found

MOST = 4
CPUS_EACH = 2
"""Fewer make conversion wait for itself."""

_open: list[Bench] = []
"""The bench of this process, where it is one of a crew."""


def processes(target: Target) -> int:
    """How many fit on this machine beside the one that measures; 1 means none of a crew."""
    if target.device == "GPU" or not hasattr(os, "sched_getaffinity"):
        return 1
    return max(1, min(MOST, len(os.sched_getaffinity(0)) // CPUS_EACH))


class Crew:
    """Builds moves at once; with one process it leaves them to the caller."""

    def __init__(self, pool: ProcessPoolExecutor | None, count: int) -> None:
        self._pool = pool
        self.count = count
        """Moves that are worth giving at a time."""

    def build(self, moves: Sequence[Move], *, seconds: float) -> None:
        """Returns when the pieces of all moves are there, or after `seconds`.

        What is wrong with a move its trial will tell.
        """
        if self._pool is not None and len(moves) > 1:
            list(self._pool.map(_build, moves, [seconds] * len(moves)))


@contextlib.contextmanager
def crew(bench: Bench, count: int) -> Iterator[Crew]:
    """The processes, which end with the block; they open the model when the first move comes."""
    if count == 1:
        yield Crew(None, 1)
        return
    arguments = (bench.request.json_line(), bench.found, bench.area.directory, max(1, (os.cpu_count() or 1) // count))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=arguments) as pool:
        yield Crew(pool, count)


def _begin(request: str, found: Found, work: Path, threads: int) -> None:
    """Opens model and data as the first process did; the source's piece is there."""
    import tensorflow as tf

    from modelpress.compress import bench, dataset, inspection, plan
    from modelpress.compress.steps.students import reading
    from modelpress.compress.work import WorkArea
    from modelpress.storage import layout
    from modelpress.telemetry.progress import Silent

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    asked = Request.from_json(request)
    digests = dataset.digests(asked.data) | reading.digests(asked.recipe, asked.source)
    rows = inspection.inspected(asked, found, digests)
    wanted = plan.of_recipe(asked.recipe, device=asked.target.device)
    area = WorkArea(work, layout.opened(asked.store, asked.namespace))
    _open.append(bench.prepared(asked, wanted, found, rows, area, Silent()))


def _build(move: Move, seconds: float) -> None:
    from modelpress.compress import candidates, plan
    from modelpress.compress.limited import OutOfTime
    from modelpress.storage import durable

    bench = _open[0]
    name = plan.key_of(move.changes) or move.name
    end = time.monotonic() + seconds
    with (
        contextlib.suppress(Invalid, OutOfTime),
        durable.locked(bench.area.directory / f"{name}.lock"),
        bench.progress.until(lambda: time.monotonic() >= end),
    ):
        candidates.build(bench, bench.versions.after(move.changes), move.build, iteration=move.iteration)
