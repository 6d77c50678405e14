"""What the sidecar may change while it runs: `sidecar.json` in ConfigMap `<name>-sidecar`, mounted as a directory."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelpress.api import duration, quantity, request
from modelpress.api.base import Model
from modelpress.api.resource import CompressedModel

FILE_NAME = "sidecar.json"


class CacheTunables(Model):
    """Memory cache: bounds in bytes and seconds."""

    mode: Literal["Auto", "Enabled", "Disabled"] = "Auto"
    policy: Literal["LRU", "LFU", "TinyLFU"] = "LRU"
    memory_bytes: int = Field(default=256 * 2**20, ge=0)
    ttl_seconds: float = Field(default=3600, gt=0)


class ConcurrencyTunables(Model):
    """At most `limit` requests in the model at once; `queue_depth` may wait for `queue_timeout_seconds`."""

    mode: Literal["Fixed", "Elastic"] = "Fixed"
    limit: int = Field(default=2, ge=1)
    min: int | None = Field(default=None, ge=1)
    queue_depth: int = Field(default=64, ge=0)
    queue_timeout_seconds: float = Field(default=2, ge=0)


class Tunables(Model):
    """Everything hot. A file that does not validate is refused, and the last good one stays in force."""

    cache: CacheTunables = CacheTunables()
    concurrency: ConcurrencyTunables = ConcurrencyTunables()
    request_timeout_seconds: float = Field(default=30, gt=0)
    max_body_bytes: int = Field(default=64 * 2**20, gt=0)


def of_resource(resource: CompressedModel) -> Tunables:
    """The tunables that a resource asks for."""
    cache, concurrency = resource.spec.cache, resource.spec.concurrency
    return Tunables(
        cache=CacheTunables(
            mode=cache.mode,
            policy=cache.policy,
            memory_bytes=int(quantity.number(cache.memory.size)),
            ttl_seconds=duration.seconds(cache.ttl),
        ),
        concurrency=ConcurrencyTunables(
            mode=concurrency.mode,
            limit=request.target(resource).concurrency,
            min=concurrency.min,
            queue_depth=concurrency.queue.depth,
            queue_timeout_seconds=duration.seconds(concurrency.queue.timeout),
        ),
        request_timeout_seconds=duration.seconds(resource.spec.serving.request_timeout),
    )
