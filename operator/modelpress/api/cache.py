"""`spec.cache`: answers kept by the sidecar."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modelpress.api.base import Model
from modelpress.api.data import DataSet
from modelpress.api.duration import Duration
from modelpress.api.gate import EMPTY
from modelpress.api.pod import ATOMIC
from modelpress.api.quantity import Quantity
from modelpress.api.scalar import ObjectName


class MemoryTier(Model):
    """Memory tier, per pod."""

    size: Quantity = Field(default="256Mi", description="Bytes per pod; added to the sidecar's memory.")
    entries: int | None = Field(
        default=None, ge=1, le=100_000_000, description="Answers per pod at most. Absent: as many as fit into the size."
    )


class DiskTier(Model):
    """Disk tier, per pod, gone with the pod."""

    size: Quantity = Field(default="2Gi", description="Bytes of ephemeral storage per pod.")


class SecretKeyRef(Model):
    """A key of a Secret of this namespace."""

    model_config = {"json_schema_extra": ATOMIC}

    name: ObjectName = Field(description="Name of the Secret in this namespace.")
    key: Annotated[str, Field(max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(description="Key in the Secret.")


class RedisTier(Model):
    """Tier shared by all pods, in Redis or Valkey."""

    url_secret_ref: SecretKeyRef = Field(description="Where the server's URL, with its password, is kept.")


class Cache(Model):
    """Answers kept by the sidecar, keyed by artifact, signature, shapes, dtypes, bytes and outputs."""

    mode: Literal["Auto", "Enabled", "Disabled"] = Field(
        default="Auto",
        description="Auto: off where it costs more than it saves, or where answers differ between two runs.",
    )
    policy: Literal["LRU", "LFU", "TinyLFU"] = Field(default="LRU", description="What is evicted.")
    memory: MemoryTier = Field(default_factory=MemoryTier, description="Memory tier, per pod.", json_schema_extra=EMPTY)
    disk: DiskTier | None = Field(default=None, description="Disk tier, per pod, gone with the pod. Absent: none.")
    redis: RedisTier | None = Field(
        default=None, description="Tier shared by all pods, in Redis or Valkey. Absent: none."
    )
    ttl: Duration = Field(default="1h", description="Longest life of an entry.")
    prefetch: DataSet | None = Field(
        default=None, description="Common requests, computed once when a pod starts. Absent: none."
    )
