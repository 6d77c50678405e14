"""The ConfigMap with everything that the sidecar may change while it runs."""

from __future__ import annotations

import json

from modelpress.api import tunables
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import CONFIG_MAP, Manifest
from modelpress.manifests import metadata, names


def sidecar_config(model: CompressedModel) -> Manifest:
    """The pods watch it: an edit reaches them without a restart."""
    wanted = tunables.of_resource(model)
    text = json.dumps(wanted.plain(), indent=2, sort_keys=True) + "\n"
    return metadata.manifest(CONFIG_MAP, names.sidecar_config(model), model, "server", data={tunables.FILE_NAME: text})
