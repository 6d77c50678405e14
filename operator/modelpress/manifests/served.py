"""What a server is given: one version directory of an artifact, and how it was measured."""

from __future__ import annotations

from typing import NamedTuple

from modelpress.api.artifact import Form
from modelpress.manifests.measured import MeasuredWith

SOURCE = "source"


def candidate(index: int) -> str:
    """The servable of a candidate, 1-based."""
    return f"candidates/{index}"


class Served(NamedTuple):
    """One servable of one artifact."""

    store: str
    """URI of the store that holds it."""
    artifact: str
    """Artifact key K."""
    servable: str
    """`source` or `candidates/<n>`."""
    digest: str
    """Content digest of the servable: what `fetch` checks, and what the sidecar's answers belong to."""
    form: Form
    image: str
    """Of TensorFlow Serving: fixed in a revision, so that an upgrade of the operator restarts nothing."""
    sidecar_image: str
    """Of the sidecar and of fetch: likewise."""
    measured: MeasuredWith
    """Threads and batching of the server that it was measured in, and will be served by."""
    deterministic: bool = True
    prefetch: str | None = None
    """Names the file of common requests beside the artifact; None: there is none."""

    @property
    def is_source(self) -> bool:
        """The source itself, served because nothing passed."""
        return self.servable == SOURCE
