"""`spec.artifacts`: where results are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelpress.api.base import Model
from modelpress.api.pod import SecretRef
from modelpress.api.quantity import Quantity
from modelpress.api.rules import Rule, checked, uri
from modelpress.api.scalar import ObjectName, Uri


class Volume(Model):
    """A claim of this model's own, for trying out."""

    model_config = checked(
        Rule(
            "self.accessMode == oldSelf.accessMode",
            "accessMode is immutable: make a new CompressedModel",
            field=".accessMode",
            says="'accessMode is immutable: it stays %s, or make a new CompressedModel'.format([oldSelf.accessMode])",
        ),
        Rule(
            "has(self.storageClassName) == has(oldSelf.storageClassName)"
            " && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "storageClassName is immutable: put the old value back, or make a new CompressedModel",
            field=".storageClassName",
        ),
        Rule(
            "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
            "size may only grow: claims do not shrink",
            field=".size",
        ),
    )

    size: Quantity = Field(default="10Gi", description="Bytes; may only grow.")
    storage_class_name: ObjectName | None = Field(default=None, description="Absent: the cluster's default. Immutable.")
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        default="ReadWriteOnce",
        description="ReadWriteOnce is for one serving pod, and for pods on one node. Immutable.",
    )


class Artifacts(Model):
    """Where results are kept; the operator deletes none, but a claim of the model's own goes with the model."""

    model_config = checked(
        *uri(optional=True),
        Rule("!(has(self.uri) && has(self.volume))", "uri and volume exclude each other: keep one of them"),
        Rule(
            "!has(self.secretRef) || has(self.uri)",
            "secretRef goes with uri: add uri, or leave it out",
            field=".secretRef",
        ),
    )

    uri: Uri | None = Field(
        default=None,
        description="Prefix in a store; models may share it, because names are digests. Absent: the operator's store.",
    )
    secret_ref: SecretRef | None = Field(
        default=None, description="Secret for uri. Absent: the service account of jobs.pod and serving.pod."
    )
    volume: Volume | None = Field(
        default=None,
        description="A claim of this model's own, deleted with it. Absent: none, except where no store is known at all"
        " (then with its defaults, for one pod).",
    )
