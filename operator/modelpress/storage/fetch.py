"""One servable of an artifact, from the store into the folder that a server reads: checked, and whole or not there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelpress.api import identity
from modelpress.api.artifact import ArtifactManifest, Servable, Warmup
from modelpress.api.errors import Invalid
from modelpress.storage import durable, layout, listing, tfrecord
from modelpress.storage.layout import Store
from modelpress.telemetry.progress import Progress

WARMUP_FILE = "tf_serving_warmup_requests"
PREFETCH_FILE = ".prefetch/requests.tfrecord"
"""Below the folder of models."""


@dataclass(frozen=True)
class Order:
    """What to fetch, and where to."""

    store: str
    namespace: str
    artifact: str
    """Artifact key K."""
    servable: str
    """`source` or `candidates/<n>`."""
    digest: str
    """Content digest that the servable must have."""
    model: str
    """Name of the served model, a folder below `into`."""
    into: Path
    warmup: int = 0
    """Warm-up records to replay at load."""
    prefetch: str | None = None
    """Names the common requests to copy to `<into>/.prefetch`; None: none."""


def fetch(order: Order, *, progress: Progress | None = None) -> Path:
    """Copies the servable to `<into>/<model>/<version>` and returns that directory; one that is there whole is kept.

    Raises Invalid `ArtifactMissing`, `DigestMismatch`, see `layout.opened`; StorageFull.
    """
    store = layout.opened(order.store, order.namespace)
    manifest = store.manifest(order.artifact)
    if manifest is None:
        raise Invalid(
            "ArtifactMissing",
            f"{store.artifact(order.artifact)} has no manifest; compress the model again, or restore the store",
            field="spec.artifacts",
        )
    servable = _servable(manifest, order)
    destination = order.into / order.model / servable.path.rsplit("/", 1)[-1]
    warmup = _warmup(store, order, manifest.warmup)
    if not _is_there(destination, servable, warmup):
        with durable.new_directory(destination) as new:
            store.copy_into(order.artifact, servable, new, what=_what(order), progress=progress)
            if warmup:
                extra = new / listing.EXTRA
                extra.mkdir(exist_ok=True)
                (extra / WARMUP_FILE).write_bytes(warmup)
    if order.prefetch is not None:
        _fetch_prefetch(store, order, order.prefetch, progress)
    return destination


def _fetch_prefetch(store: Store, order: Order, name: str, progress: Progress | None) -> None:
    """A cache that is cold at first is no reason not to serve."""
    found = store.file(order.artifact, layout.prefetch(name))
    if found.is_file():
        durable.write(order.into / PREFETCH_FILE, found.read_bytes())
    elif progress is not None:
        progress.say(f"{found} is not there: the cache begins without common requests")


def _what(order: Order) -> str:
    """`candidate 1` or `the source`."""
    kind, _, number = order.servable.partition("/")
    return f"candidate {number}" if kind == "candidates" else "the source"


def _servable(manifest: ArtifactManifest, order: Order) -> Servable:
    servables = [manifest.source.servable, *(candidate.servable for candidate in manifest.candidates)]
    for servable in servables:
        if servable.path.rsplit("/", 1)[0] == order.servable:
            if order.digest != servable.digest or identity.content_digest(servable.files) != servable.digest:
                raise Invalid(
                    "DigestMismatch",
                    f"{order.servable} of artifact {order.artifact} has the digest {servable.digest}, "
                    f"{order.digest} was asked for; compress the model again",
                    field="spec.artifacts",
                )
            return servable
    raise Invalid(
        "ArtifactMissing",
        f"artifact {order.artifact} has no {order.servable}; it has {', '.join(one.path for one in servables)}",
        field="spec.artifacts",
    )


def _warmup(store: Store, order: Order, recorded: Warmup | None) -> bytes:
    if recorded is None or order.warmup == 0:
        return b""
    return tfrecord.first(store.file(order.artifact, recorded.path), order.warmup)


def _is_there(destination: Path, servable: Servable, warmup: bytes) -> bool:
    if not destination.is_dir():
        return False
    expected = {file.path: file.sha256 for file in servable.files}
    found = {file.path: file.sha256 for file in listing.files(destination)}
    path = f"{listing.EXTRA}/{WARMUP_FILE}"
    if warmup and ((destination / path).read_bytes() if path in found else b"") != warmup:
        return False
    own = {name: sha256 for name, sha256 in found.items() if name != path or not warmup}
    return own == {name: sha256 for name, sha256 in expected.items() if name != path or not warmup}
