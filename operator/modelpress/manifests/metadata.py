"""The frame of every manifest: names, labels, annotations and the owner."""

from __future__ import annotations

from typing import Any

from modelpress.api.base import API_VERSION, KIND
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import Kind, Manifest
from modelpress.manifests import labels, names


def manifest(
    kind: Kind,
    name: str,
    model: CompressedModel,
    component: labels.Component,
    *,
    annotations: dict[str, str] | None = None,
    more_labels: dict[str, str] | None = None,
    **body: Any,
) -> Manifest:
    """An object of the model. Empty maps are never sent: they would cost a write and claim the whole map."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": names.namespace(model),
        "labels": {**labels.of(model, component), **(more_labels or {})},
    }
    notes = {**model.spec.common_metadata.annotations, **(annotations or {})}
    if notes:
        metadata["annotations"] = notes
    if model.metadata.uid:
        metadata["ownerReferences"] = [owner(model)]
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


def owner(model: CompressedModel) -> dict[str, Any]:
    """Without blockOwnerDeletion, which would ask for a right on finalizers."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": model.metadata.name,
        "uid": model.metadata.uid,
        "controller": True,
    }


def present(mapping: dict[str, Any]) -> dict[str, Any]:
    """Without absent and empty values."""
    return {name: value for name, value in mapping.items() if value is not None and value not in ({}, [], ())}
