"""What a compress Job leaves in the store: the manifest of an artifact, written last, create-if-absent.

    <store>/<namespace>/artifacts/<K>/{manifest.json, source/<v>/, candidates/<n>/<v>/, warmup/, report.*, tensorboard/}
    <store>/<namespace>/evaluations/<E>.json

`<v>` is the manifest's creation time in Unix seconds. Without its manifest an artifact does not exist.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelpress.api.base import Model
from modelpress.api.trial import Trial

Form = Literal["SavedModel", "TFLite"]
FORMAT_VERSION = 1
"""Engine format version: part of the artifact key; raise it when equal inputs would give other bytes."""


class File(Model):
    """A file below the directory that lists it."""

    path: str
    size: int
    """Bytes."""
    sha256: str
    """64 hex digits."""


class Servable(Model):
    """A version directory that TensorFlow Serving can load; it holds one form only."""

    path: str
    """Relative to the artifact, e.g. `candidates/1/1790000000`; its last part is the version number."""
    form: Form
    digest: str
    """Content digest of `files`."""
    size_bytes: int
    """Bytes of the version directory without assets.extra."""
    files: tuple[File, ...]
    signatures: tuple[str, ...]


class Candidate(Model):
    """One servable result of the recipe, ranked; the first is tried first."""

    index: int
    """1-based; directory `candidates/<index>`."""
    recipe: str
    """One line for people, e.g. `prune Magnitude <0.01 max 10 %; quantize StaticInt8`."""
    servable: Servable
    iteration: int = 1
    notes: tuple[str, ...] = ()
    """What the engine wants to be known: why a form was chosen, what was left out."""
    warnings: tuple[str, ...] = ()
    """What the user will hardly have wanted, each with its cure: a layer that a threshold removed."""


class Refused(Model):
    """A candidate that could not be built, or that the engine's own check refused (NaN outputs, does not load)."""

    recipe: str
    form: Form
    reason: str
    """CamelCase, e.g. `NotFinite`."""
    message: str


class SourceFound(Model):
    """The source as it was read, and its float32 SavedModel to which all ratios refer."""

    uri: str
    digest: str
    format: str
    signatures: tuple[str, ...]
    servable: Servable


class Warmup(Model):
    """Recorded PredictionLogs (TFRecord), to be copied into assets.extra of a version directory."""

    path: str
    records: int
    sha256: str


class ArtifactManifest(Model):
    """`manifest.json` of an artifact."""

    format_version: int = FORMAT_VERSION
    key: str
    """Artifact key K, 64 hex digits."""
    created: int
    """Unix seconds; the version number of every version directory."""
    source: SourceFound
    candidates: tuple[Candidate, ...]
    refused: tuple[Refused, ...] = ()
    trials: tuple[Trial, ...] = ()
    """All trials of a search, in the order of trying."""
    warmup: Warmup | None = None
    seed: int = 0
    deterministic: bool = True
    """False where one input gave two answers in two runs, or the graph holds random ops: never cached."""
    random_operations: tuple[str, ...] = ()
    """Those of the source's graph, as `Type (node)`: the first few, and how many more."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Package name -> version that made this artifact."""
