"""What the servers of this machine are not like the pod of the resource in: its GPU, and its memory limit. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from modelpress.api.measurement import Evaluation
from modelpress.api.request import Target
from modelpress.server import launch
from modelpress.status import wording

_LIMIT = "spec.serving.resources.limits"


def gpu_warnings(target: Target, gpus: int) -> Iterator[str]:
    """Where a GPU shall serve, and this machine has none that TensorFlow can use."""
    if target.device == "GPU" and not gpus:
        yield (
            f"{_LIMIT} names a GPU, and TensorFlow finds none here: latency and memory are those of this machine's "
            "CPU and say little of a GPU; run on a machine with one, or leave it to the cluster's evaluation"
        )


def memory_warnings(found: Evaluation, target: Target) -> Iterator[str]:
    """Where the server of a candidate took more memory than the pod will have: no limit is held locally.

    What the program itself takes that stands in for TensorFlow Serving is not counted.
    """
    peak = found.measurements.memory_bytes
    if peak is None or target.memory_bytes is None:
        return
    own = launch.own_memory_bytes(found.server)
    if peak.value - own <= target.memory_bytes:
        return
    less = f", about {wording.size(own)} of it its own," if own else ""
    yield (
        f"{found.server} took {wording.size(peak.value)} at its peak{less} and {_LIMIT}.memory is "
        f"{wording.size(target.memory_bytes)}: the pod would be killed (OOMKilled); raise that limit, lower "
        "spec.concurrency.limit, or compress further"
    )
