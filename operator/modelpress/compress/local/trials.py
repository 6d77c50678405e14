"""The trials of a file's search on this machine: of what is complete, and of what still runs or was cut off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelpress.api import request as requests
from modelpress.api.request import Request
from modelpress.api.resource import CompressedModel
from modelpress.api.trial import Trial
from modelpress.compress import engine
from modelpress.compress.local import session
from modelpress.compress.search import front
from modelpress.compress.search import journal as journals
from modelpress.storage import layout


@dataclass(frozen=True)
class Tried:
    """What is known of a search."""

    trials: tuple[Trial, ...]
    """Marked, in the order of trying."""
    artifact: Path | None = None
    """Folder of the complete artifact; None while there is none."""
    unfinished: tuple[str, ...] = ()
    """Recipes that are being tried now, or that a kill cut off."""


def of_resource(resource: CompressedModel, options: session.Options) -> Tried | None:
    """By the content of source and data, as a run finds it; None where nothing was begun. Raises Invalid."""
    request = requests.of_resource(resource, store=session.store(options, resource))
    store, key = layout.opened(request.store, request.namespace), engine.artifact_key(request)
    manifest = store.manifest(key)
    if manifest is not None:
        return Tried(manifest.trials, store.artifact(key))
    content = store.seen(store.work(key) / journals.NAME)
    return None if content is None else _under_way(content, request)


def _under_way(content: bytes, request: Request) -> Tried:
    found = journals.entries(content)
    objective = request.recipe.search.objective if request.recipe.search else "Latency"
    marked = front.marked(found.trials, front.offered(found.trials, objective))
    unfinished = dict.fromkeys(f"{one.recipe}, {one.form}" for one in found.unfinished)
    return Tried(marked, unfinished=tuple(unfinished))
