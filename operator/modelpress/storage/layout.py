"""Where the parts of a store lie; one namespace never reads another's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelpress.api.artifact import ArtifactManifest, Servable
from modelpress.storage import location

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Store:
    """The part of a store that belongs to one namespace."""

    root: Path

    def artifact(self, key: str) -> Path:
        """Directory of the artifact `key`; it exists for readers only with its manifest."""
        return self.root / "artifacts" / key

    def evaluation(self, key: str) -> Path:
        """File of the evaluation `key`."""
        return self.root / "evaluations" / f"{key}.json"

    def work(self, key: str) -> Path:
        """Directory of what is finished of an artifact that is not complete yet."""
        return self.root / "work" / key

    def manifest(self, key: str) -> ArtifactManifest | None:
        """The manifest of the artifact `key`; None while there is none."""
        path = self.artifact(key) / MANIFEST
        return ArtifactManifest.from_json(path.read_bytes()) if path.exists() else None

    def servable(self, key: str, servable: Servable) -> Path:
        """Version directory of a servable of the artifact `key`."""
        return self.artifact(key) / servable.path


def opened(uri: str, namespace: str, *, field: str = "spec.artifacts.uri") -> Store:
    """The store at `uri`, as `namespace` sees it; nothing is created. Raises Invalid `UnsupportedScheme`."""
    return Store(location.resolve(uri, field=field) / namespace)
