"""`spec.artifacts`: where results are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelpress.api.base import Model
from modelpress.api.pod import SecretRef
from modelpress.api.quantity import Quantity
from modelpress.api.scalar import ObjectName, Uri


class Volume(Model):
    """A claim of this model's own, for trying out."""

    size: Quantity = Field(default="10Gi", description="Bytes; may only grow.")
    storage_class_name: ObjectName | None = Field(default=None, description="Absent: the cluster's default. Immutable.")
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        default="ReadWriteOnce", description="ReadWriteOnce keeps Jobs and the one pod on one node. Immutable."
    )


class Artifacts(Model):
    """Where results are kept; never deleted by the operator."""

    uri: Uri | None = Field(
        default=None,
        description="Prefix in a store; models may share it, because names are digests. Absent: the namespace's or the"
        " operator's store.",
    )
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret for uri. Absent: the service account of jobs.pod and serving.pod."
    )
    volume: Volume | None = Field(
        default=None,
        description="A claim of this model's own. Absent: none, except where no store is known at all (then with its"
        " defaults).",
    )
