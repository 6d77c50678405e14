"""What the sidecar may change while it runs: `sidecar.json` in ConfigMap `<name>-sidecar`, mounted as a directory."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from modelpress.api import duration, quantity, request
from modelpress.api.base import Model
from modelpress.api.resource import CompressedModel

FILE_NAME = "sidecar.json"

LARGEST_MEMORY, LARGEST_DISK = 2**40, 2**44
"""Bytes: 1 TiB and 16 TiB per pod; beyond that a unit was mistaken."""
LONGEST = 2_000_000_000.0
"""Seconds: more than any duration of the API can say."""
Seconds = Annotated[float, Field(le=LONGEST, allow_inf_nan=False)]


class _Strict(Model):
    """What nobody knows is refused, for `read` to tell: a misspelt name would be a setting without effect."""

    model_config = {"extra": "forbid"}


class CacheTunables(_Strict):
    """Bounds in bytes, numbers and seconds. Which tiers there are is fixed by the sidecar's arguments."""

    mode: Literal["Auto", "Enabled", "Disabled"] = "Auto"
    policy: Literal["LRU", "LFU", "TinyLFU"] = "LRU"
    memory_bytes: int = Field(default=256 * 2**20, ge=0, le=LARGEST_MEMORY)
    memory_entries: int | None = Field(default=None, ge=0, le=100_000_000)
    disk_bytes: int = Field(default=0, ge=0, le=LARGEST_DISK)
    ttl_seconds: Seconds = Field(default=3600, gt=0)


class ConcurrencyTunables(_Strict):
    """At most `limit` requests in the model at once; `queue_depth` may wait for `queue_timeout_seconds`."""

    mode: Literal["Fixed", "Elastic"] = "Fixed"
    limit: int = Field(default=2, ge=1, le=4096)
    min: int | None = Field(default=None, ge=1, le=4096)
    queue_depth: int = Field(default=64, ge=0, le=100_000)
    queue_timeout_seconds: Seconds = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.min > self.limit:
            raise ValueError(f"min is {self.min} and limit is {self.limit}: min must not exceed limit")
        return self


_ADDRESS = (
    r"^(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9._-]+):(6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3})$"
)


class CandidateTunables(_Strict):
    """The Service of the revision that is on trial, `host:port` each, and the artifact that it serves."""

    grpc: str = Field(pattern=_ADDRESS)
    rest: str = Field(pattern=_ADDRESS)
    artifact_digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class ShadowTunables(_Strict):
    """Copies of a share of the requests. Floats count as equal within `absolute + relative x |live value|`."""

    sample_rate: float = Field(default=0.05, gt=0, le=1)
    concurrency: int = Field(default=2, ge=1, le=64)
    relative_tolerance: float = Field(default=1e-2, ge=0, allow_inf_nan=False)
    absolute_tolerance: float = Field(default=1e-3, ge=0, allow_inf_nan=False)


class RolloutTunables(_Strict):
    """`weight` percent of the requests go to the candidate; with `fall_back` back to us where it is unavailable."""

    candidate: CandidateTunables
    weight: float = Field(default=0, ge=0, le=100)
    fall_back: bool = True
    shadow: ShadowTunables | None = None


class Tunables(_Strict):
    """Everything hot. A file that does not validate is refused, and the last good one stays in force."""

    cache: CacheTunables = CacheTunables()
    concurrency: ConcurrencyTunables = ConcurrencyTunables()
    rollout: RolloutTunables | None = None
    request_timeout_seconds: Seconds = Field(default=30, gt=0)
    max_body_bytes: int = Field(default=64 * 2**20, gt=0, le=2**31 - 1)
    max_connection_age_seconds: Seconds = Field(default=300, ge=0)
    """Then a gRPC client is asked to connect anew, perhaps to a pod that is new; 0: never."""
    access_log: bool = False
    """A line for each request: its method, code, outcome and time, never its contents."""


def of_resource(resource: CompressedModel) -> Tunables:
    """The tunables that a resource asks for."""
    cache, concurrency = resource.spec.cache, resource.spec.concurrency
    target = request.target(resource)
    return Tunables(
        cache=CacheTunables(
            mode=cache.mode,
            policy=cache.policy,
            memory_bytes=int(quantity.number(cache.memory.size)),
            memory_entries=cache.memory.entries,
            disk_bytes=int(quantity.number(cache.disk.size)) if cache.disk else 0,
            ttl_seconds=duration.seconds(cache.ttl),
        ),
        concurrency=ConcurrencyTunables(
            mode=concurrency.mode,
            limit=target.concurrency,
            min=_least(resource, target.concurrency),
            queue_depth=concurrency.queue.depth,
            queue_timeout_seconds=duration.seconds(concurrency.queue.timeout),
        ),
        request_timeout_seconds=duration.seconds(resource.spec.serving.request_timeout),
    )


def _least(resource: CompressedModel, limit: int) -> int | None:
    """The floor of an elastic limit. Large batches take longer, which is no reason to make them smaller."""
    concurrency, batching = resource.spec.concurrency, resource.spec.serving.batching
    if concurrency.mode == "Fixed":
        return None
    return concurrency.min or min(batching.max_batch_size if batching else 1, limit)


def read(content: bytes) -> tuple[Tunables, tuple[str, ...]]:
    """The tunables in a file, and the keys in it that nobody knows here; a newer operator may have written them.

    Raises ValidationError.
    """
    try:
        return Tunables.from_json(content), ()
    except ValidationError as error:
        unknown = [problem["loc"] for problem in error.errors() if problem["type"] == "extra_forbidden"]
        if len(unknown) < error.error_count():
            raise
    document = json.loads(content)
    for *path, last in unknown:
        block = document
        for name in path:
            block = block[name]
        del block[last]
    return Tunables.model_validate(document), tuple(".".join(map(str, where)) for where in unknown)
