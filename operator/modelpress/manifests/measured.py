"""What a revision was measured with, kept on its Deployment: a change of it asks for a new evaluation."""

from __future__ import annotations

from typing import Literal, Self

from modelpress.api import request
from modelpress.api.base import GROUP, Model
from modelpress.api.resource import CompressedModel
from modelpress.api.serving import Batching

MEASURED_WITH = f"{GROUP}/measured-with"


class MeasuredWith(Model):
    """The server's device, threads and batching, and the percentile that latency was judged at.

    Limits of the sidecar and of memory are not in it: they change without a new evaluation.
    """

    device: Literal["CPU", "GPU"] = "CPU"
    threads: int = request.DEFAULT_THREADS
    batching: Batching | None = None
    percentile: int = 95

    @classmethod
    def wanted(cls, model: CompressedModel) -> Self:
        """What the resource asks for now."""
        target = request.target(model)
        return cls(
            device=target.device,
            threads=target.threads,
            batching=target.batching,
            percentile=model.spec.gate.latency.percentile,
        )
