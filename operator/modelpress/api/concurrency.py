"""`spec.concurrency`: requests in the model at once, and the queue before it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelpress.api.base import Model
from modelpress.api.duration import Duration
from modelpress.api.gate import EMPTY
from modelpress.api.rules import Rule, checked


class Queue(Model):
    """What waits; beyond it 429 / RESOURCE_EXHAUSTED with Retry-After."""

    depth: int = Field(default=64, ge=0, le=100_000, description="Requests that may wait; 0: no waiting.")
    timeout: Duration = Field(default="2s", description="Longest wait.")


class Concurrency(Model):
    """Requests a pod works on at once, behind the cache: C = min(limit, waiting)."""

    model_config = checked(
        Rule(
            "!has(self.min) || self.mode == 'Elastic'",
            "min goes with mode Elastic",
            field=".min",
            says="'min is %d, but mode %s has none: leave it out, or set mode: Elastic'.format([self.min, self.mode])",
        ),
        Rule(
            "!has(self.min) || !has(self.limit) || self.min <= self.limit",
            "min must not exceed limit",
            field=".min",
            says="'min is %d and limit is %d: min must not exceed limit'.format([self.min, self.limit])",
        ),
    )

    mode: Literal["Fixed", "Elastic"] = Field(
        default="Fixed", description="Fixed, or Elastic between min and limit with the observed latency."
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Ceiling per pod. Absent: the server's CPUs (at least 2, and min); with batching 2 x maxBatchSize.",
    )
    min: int | None = Field(
        default=None, ge=1, le=4096, description="Elastic only. Default: 1, with batching maxBatchSize."
    )
    queue: Queue = Field(
        default_factory=Queue,
        description="What waits; beyond it 429 / RESOURCE_EXHAUSTED with Retry-After.",
        json_schema_extra=EMPTY,
    )
