"""GetModelMetadata and GetModelStatus, for both protocols."""

from __future__ import annotations

from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.servable import Servable
from modelpress.server.versions import Versions

FIELD = "signature_def"


def check_fields(fields: Any) -> None:
    """There is one field, and it must be asked for."""
    if not fields:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != FIELD:
            raise invalid_argument(f"Metadata field {field} is not supported")


def metadata(servable: Servable, name: str, version: int) -> Any:
    """GetModelMetadataResponse with all signatures."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version
    response.metadata[FIELD].Pack(signature_map(servable))
    return response


def signature_map(servable: Servable) -> Any:
    """SignatureDefMap of a version."""
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in servable.signatures.items():
        found.signature_def[name].CopyFrom(signature.definition)
    return found


def status(versions: Versions, name: str, version: int | None) -> Any:
    """GetModelStatusResponse of one or all versions; raises Failure for none. Newest first."""
    known = versions.statuses(name)
    if version is not None:
        known = [entry for entry in known if entry[0] == version]
        if not known:
            raise Failure(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
    if not known:
        raise Failure(Code.NOT_FOUND, f"Could not find any versions of model {name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for number, state, failure in reversed(known):
        entry = response.model_version_status.add(version=number, state=state.value)
        entry.status.SetInParent()
        if failure:
            entry.status.error_code = failure.code.value
            entry.status.error_message = failure.message
    return response
