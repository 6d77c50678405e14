"""`spec.source`: the trained model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modelpress.api.base import Model
from modelpress.api.pod import SecretRef
from modelpress.api.rules import Rule, checked, uri
from modelpress.api.scalar import Digest, Uri

SourceFormat = Literal["Auto", "SavedModel", "Keras", "KerasHDF5", "FrozenGraph", "TFLite"]


class Source(Model):
    """The trained model."""

    model_config = checked(
        *uri(),
        Rule(
            "!self.uri.startsWith('http://') || has(self.digest)",
            "http:// is not authenticated: pin the content with digest: sha256:<64 hex digits>, or use https://",
            field=".uri",
        ),
    )

    uri: Uri = Field(
        description="A model, or a folder of numbered versions (the highest is taken): pvc, s3, gs, az, http, https,"
        " hf or"
        " oci; local runs take paths and file:// too. Read again only when source, data or recipe change, or on the"
        " annotation modelpress.dev/reconcile-requested-at."
    )
    format: SourceFormat = Field(default="Auto", description="What it is. Auto: found out from the files.")
    digest: Digest | None = Field(
        default=None,
        description="sha256:<64 hex digits>. Pins the content: another content is a terminal error, and a digest whose"
        " artifact is kept is served from it. Absent: whatever is found.",
    )
    signatures: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] | None = Field(
        default=None,
        max_length=16,
        description="Signatures to keep. Absent: all.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    trust: Literal["DataOnly", "Code"] = Field(
        default="DataOnly",
        description="DataOnly refuses a model that carries code (Lambda layers) or whose graph reads or writes files of"
        " its own choice; Code runs it in the Jobs: only for models whose author you trust. Pickles are never read.",
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with the store's credentials (AWS_*, GOOGLE_APPLICATION_CREDENTIALS_JSON, AZURE_*,"
        " HF_TOKEN,"
        " .dockerconfigjson). Absent: the service account of jobs.pod (workload identity).",
    )
