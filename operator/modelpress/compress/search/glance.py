"""A look at a servable in this process: what its metrics are on a few rows, and how long a request takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from modelpress.api.measurement import Measurements
from modelpress.compress import examples as data
from modelpress.compress.bench import Bench
from modelpress.compress.check import Call
from modelpress.compress.dataset import Array, Rows
from modelpress.compress.evaluation import comparison
from modelpress.compress.evaluation.comparison import Answers, CandidateFailed
from modelpress.compress.evaluation.examples import Examples
from modelpress.compress.signature import Signature
from modelpress.telemetry.progress import Silent

ROWS = 256
"""Rows of the look in this process; few, as it is there to spare servers the hopeless."""
CALLS = 15
"""At least; as many more as fit into SECONDS, because 15 calls of 0.1 ms tell little."""
SECONDS = 0.3
QUANTILE = 0.25
"""Lower than the median: what else runs on the machine makes calls longer, never shorter."""


@dataclass(frozen=True)
class Glance:
    """What a look in this process told."""

    measurements: Measurements
    milliseconds: float
    """Of a request of one row that nothing disturbs."""


class InProcess:
    """A servable in this process, asked like a server."""

    def __init__(self, call: Call, signature: str) -> None:
        self._call, self._signature = call, signature

    def predict(self, inputs: Mapping[str, Array], *, rows: str) -> dict[str, Array]:
        """Outputs by name."""
        return self._call(self._signature, inputs)


def of(bench: Bench, signature: Signature, chosen: Examples, call: Call, answers: Answers) -> Glance:
    """Of a servable that `call` asks; `answers` remembers those of the source."""
    rows = chosen.rows.part(0, min(ROWS, len(chosen.rows)))
    try:
        compared = comparison.compare(
            InProcess(bench.opened.call, signature.name),
            InProcess(call, signature.name),
            rows=rows,
            signature=signature,
            wanted=bench.request.gate.metrics,
            answers=answers,
            progress=Silent(),
        )
    except CandidateFailed as error:
        return Glance(Measurements(failure=error.reason, failure_message=str(error)), 0.0)
    size = data.batch_size(signature, 1)
    return Glance(Measurements(metrics=compared.metrics), _milliseconds(call, signature.name, rows, size))


def _milliseconds(call: Call, signature: str, rows: Rows, size: int) -> float:
    """Time of requests of one row (or of all that a model of fixed batch takes), disturbances left out."""
    inputs = rows.part(0, size).inputs
    for _ in range(3):
        call(signature, inputs)
    times: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(times) < CALLS or time.perf_counter() < until:
        began = time.perf_counter()
        call(signature, inputs)
        times.append(1000 * (time.perf_counter() - began))
    return sorted(times)[int(QUANTILE * len(times))]
