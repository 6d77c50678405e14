"""Where results are kept, and which claims and Secrets a pod needs to reach data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelpress.api import identity
from modelpress.api.artifacts import Volume
from modelpress.api.pod import SecretRef
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import VOLUME_CLAIM, Manifest
from modelpress.manifests import metadata, names
from modelpress.manifests.installation import Installation

PVC_SCHEME = "pvc://"
PVC_ROOT = "/var/run/modelpress/pvc"
SECRETS_ROOT = "/var/run/modelpress/secrets"


def uri(model: CompressedModel, installation: Installation) -> str:
    """The store in effect: the model's own, else the installation's, else a claim of the model's own."""
    artifacts = model.spec.artifacts
    if artifacts and artifacts.uri:
        return artifacts.uri
    if installation.default_store and not (artifacts and artifacts.volume):
        return installation.default_store
    return _own_claim(model)


def is_on_one_node(model: CompressedModel, installation: Installation) -> bool:
    """Whether the store is a claim of the model's own that a single node mounts at a time."""
    is_own = uri(model, installation) == _own_claim(model)
    return is_own and _volume(model).access_mode == "ReadWriteOnce"


def _own_claim(model: CompressedModel) -> str:
    return f"{PVC_SCHEME}{names.artifacts_claim(model)}/"


def _volume(model: CompressedModel) -> Volume:
    return (model.spec.artifacts.volume if model.spec.artifacts else None) or Volume()


def volume_claim(model: CompressedModel, installation: Installation) -> Manifest | None:
    """A claim where the model has no other store. It goes with the model: it is for trying out."""
    if uri(model, installation) != _own_claim(model):
        return None
    volume = _volume(model)
    spec = metadata.present(
        {
            "accessModes": [volume.access_mode],
            "storageClassName": volume.storage_class_name,
            "resources": {"requests": {"storage": volume.size}},
        }
    )
    return metadata.manifest(VOLUME_CLAIM, names.artifacts_claim(model), model, "compress", spec=spec)


def claim_of(location: str) -> str | None:
    """The claim that a pvc:// URI names, else None."""
    if not location.startswith(PVC_SCHEME):
        return None
    return location.removeprefix(PVC_SCHEME).split("/", 1)[0]


def data_uris(model: CompressedModel) -> dict[str, tuple[str, SecretRef | None]]:
    """Role, URI and Secret of everything that a Job reads and never writes."""
    found = {"source": (model.spec.source.uri, model.spec.source.secret_ref)}
    data = model.spec.data
    for role in ("evaluation", "calibration", "training"):
        if data and (data_set := getattr(data, role)):
            found[role] = (data_set.uri, data_set.secret_ref)
    students = [step.distill.student.uri for step in model.spec.recipe.steps or () if step.distill]
    if student := next((location for location in students if location), None):
        found["student"] = (student, None)  # read with the Secret of the source
    if prefetch := model.spec.cache.prefetch:
        found["prefetch"] = (prefetch.uri, prefetch.secret_ref)
    return found


def claim_volumes(writable: Iterable[str], read_only: Iterable[str]) -> tuple[list[Any], list[Any]]:
    """(volumes, mounts) for the claims among these URIs; one that is written to is writable whatever else it holds."""
    written = {claim for location in writable if (claim := claim_of(location))}
    read = {claim for location in read_only if (claim := claim_of(location))} - written
    volumes, mounts = [], []
    for claim in sorted(written | read):
        name, only = f"pvc-{identity.key(claim)[:10]}", {} if claim in written else {"readOnly": True}
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim, **only}})
        mounts.append({"name": name, "mountPath": f"{PVC_ROOT}/{claim}", **only})
    return volumes, mounts


def secret_volumes(secrets: dict[str, SecretRef | None]) -> tuple[list[Any], list[Any]]:
    """(volumes, mounts) of Secrets by role, as files, so that rotation reaches the pods."""
    volumes, mounts = [], []
    for role, reference in sorted(secrets.items()):
        if reference is not None:
            volumes.append({"name": f"secret-{role}", "secret": {"secretName": reference.name, "defaultMode": 0o440}})
            mounts.append({"name": f"secret-{role}", "mountPath": f"{SECRETS_ROOT}/{role}", "readOnly": True})
    return volumes, mounts


def artifacts_secret(model: CompressedModel) -> SecretRef | None:
    """The store's Secret; a store that the model does not name is reached by the service account."""
    artifacts = model.spec.artifacts
    return artifacts.secret_ref if artifacts and artifacts.uri else None
