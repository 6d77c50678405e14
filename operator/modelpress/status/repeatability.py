"""Whether a model answers the same rows alike each time, and if not, which operations are to blame. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from modelpress.api.artifact import ArtifactManifest

_CURE = "export it in inference mode (training=False, no dropout, no sampling), or leave it so"


def warnings(manifest: ArtifactManifest) -> Iterator[str]:
    """A sentence with the cure where answers are not bit-identical from one run to the next; nothing where they are."""
    if manifest.deterministic:
        return
    if manifest.random_operations:
        named = ", ".join(manifest.random_operations)
        yield (
            f"the model draws random numbers, so that its answers are not bit-identical from one run to the next and "
            f"are not cached: {named}; {_CURE}"
        )
    else:
        yield (
            "one row got two answers in two runs, so that answers are not cached, though the graph has no random "
            "operation: it keeps state between requests, or adds numbers in no fixed order; "
            f"{_CURE}"
        )
