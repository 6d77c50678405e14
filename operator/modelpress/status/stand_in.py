"""A server that measured in place of TensorFlow Serving: absolute limits are held against what the model adds to it.

Ratios are judged as they were measured. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from modelpress.api import gate
from modelpress.api.measurement import LatencyMeasured, Measurements
from modelpress.status import wording


class StandIn(NamedTuple):
    """What it is called, and what it takes for itself."""

    name: str
    """Such as `modelpress serve 0.1.0`."""
    memory_bytes: int
    """About that, before any model."""

    def milliseconds(self, measured: LatencyMeasured) -> float | None:
        """Latency at its percentile less the median of constant answers; None where that is not known."""
        if measured.constant is None:
            return None
        return max(0.0, measured.gross.value - measured.constant)

    def without(self, own: str = "") -> str:
        """Words behind a number that leaves out what the server takes itself, `own` of it."""
        return f" without what {self.name} takes itself{f' ({own})' if own else ''}"

    def with_it(self) -> str:
        """Words behind a number in which the server's own part could not be told."""
        return f" with what {self.name} takes itself"

    def memory_taken(self) -> str:
        """`about 550 MiB`."""
        return f"about {wording.size(self.memory_bytes)}"

    def warnings(self, measured: Measurements, limits: gate.Gate) -> Iterator[str]:
        """A sentence for each absolute limit that was not held against what TensorFlow Serving would take."""
        if limits.memory is not None and limits.memory.max is not None and measured.memory_bytes is not None:
            yield (
                f"spec.gate.memory.max was judged{self.without(self.memory_taken())}: TensorFlow Serving is judged "
                "with what it takes in a cluster"
            )
        latency = measured.latency_milliseconds
        if limits.latency.max is None or latency is None:
            return
        if self.milliseconds(latency) is None:
            yield (
                f"spec.gate.latency.max was judged with what {self.name} takes itself, which could not be told; "
                "TensorFlow Serving takes less"
            )
        else:
            yield (
                f"spec.gate.latency.max was judged{self.without('the median of constant answers')}: TensorFlow "
                "Serving is judged with what it takes in a cluster"
            )
